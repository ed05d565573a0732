//! What clients of a large cluster ask for: its topology, kept and made anew; and the look into the view that every request takes.
//!
//! `cargo bench --bench cluster`, or `-- topology` for a group.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use slotcore::base::clock::UnixMillis;
use slotcore::base::random::Random;
use slotcore::base::slot::{SLOTS_COUNT, Slot};
use slotcore::cluster::nodes_conf;
use slotcore::cluster::replies::{Replies, Shown};
use slotcore::cluster::settings::ClusterSettings;
use slotcore::cluster::state::ClusterState;
use slotcore::config::Config;
use slotcore::resp::{Reply, ReplyBuffer, RespVersion};

const NODES_COUNT: usize = 1000;
/// Slots that have been moved about: each node has one or two runs of so many.
const RUN_SLOTS: usize = 16;

fn large_cluster() -> ClusterState {
    let mut text = String::new();
    for node in 0..NODES_COUNT {
        let (ip, flags) = (node + 1, if node == 0 { "myself,master" } else { "master" });
        let (third, fourth) = (ip / 250, ip % 250 + 1);
        text += &format!("{node:040} 10.0.{third}.{fourth}:6379@16379 {flags} - 0 0 {node} connected");
        for run in (node..SLOTS_COUNT / RUN_SLOTS).step_by(NODES_COUNT) {
            text += &format!(" {}-{}", run * RUN_SLOTS, (run + 1) * RUN_SLOTS - 1);
        }
        text.push('\n');
    }
    text += "vars currentEpoch 1000 lastVoteEpoch 0\n";
    let settings = ClusterSettings::of(&Config { port: 6379, ..Config::default() });
    match nodes_conf::parse(text.as_bytes(), &settings, UnixMillis(1), &mut Random::new(1)) {
        Ok(state) => state,
        Err(damage) => panic!("line {}: {}", damage.line, damage.reason),
    }
}

fn topology(criterion: &mut Criterion) {
    let state = large_cluster();
    let mut group = criterion.benchmark_group("topology of 1000 nodes");
    let mut replies = Replies::default();
    for (kind, generation) in [("anew", None), ("kept", Some(1))] {
        let shown = Shown { state: &state, own_offset: 1, generation };
        let mut buffer = ReplyBuffer::new();
        let mut bench = |name: &str, write: &mut dyn FnMut(&mut Reply<'_>)| {
            group.bench_function(format!("{name}/{kind}"), |bench| {
                bench.iter(|| {
                    buffer.advance(buffer.len_bytes());
                    write(&mut Reply::new(&mut buffer, RespVersion::V2));
                    buffer.len_bytes()
                });
            });
        };
        bench("slots", &mut |reply| replies.slots(black_box(&shown), reply));
        bench("shards", &mut |reply| replies.shards(black_box(&shown), reply));
        bench("nodes", &mut |reply| reply.verbatim("txt", replies.nodes(black_box(&shown)).as_bytes()));
    }
    group.bench_function("view", |bench| bench.iter(|| black_box(&state).view()));
    group.finish();
}

fn view(criterion: &mut Criterion) {
    let view = large_cluster().view();
    criterion.bench_function("view/is_settled_here", |bench| {
        bench.iter(|| view.is_settled_here(black_box(Slot::new(12182))));
    });
}

criterion_group!(benches, topology, view);
criterion_main!(benches);
