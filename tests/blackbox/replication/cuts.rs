//! Links that are cut, fall silent, or stay away longer than the backlog reaches back.

use std::time::Duration;

use super::compare::{Sameness, assert_same};
use super::load::Load;
use super::nodes::{
    ALL_PAIRS, Info, SYNC_LIMIT, fill, follow, granted, is_up, node, settle, wait_for_replicas, wait_until_down,
};
use super::proxy::{Proxy, Way};
use super::seed;
use crate::support::random::Random;
use crate::support::{Kind, Server, holds_within, number_from_env};

/// Bytes to the replica within which a cut falls: a few batches of the load.
const CUT_WITHIN_BYTES: u64 = 40_000;
/// Bytes to the primary within which one falls: an acknowledgement or two.
const ACKS_BYTES: u64 = 80;
/// Bytes within which one falls that is to hit the talk before the stream goes on.
const TALK_BYTES: u64 = 150;

/// What a test of cuts keeps: more than a busy primary writes in three absences of a second and in what came before them.
const BACKLOG: &[&str] = &["--repl-backlog-size", "256mb"];
/// A replica that is no further behind than this may be cut off again.
const LAG_BYTES: i64 = 32 << 20;

/// Cuts at random bytes and moments under load: each ends in a partial resynchronisation.
fn cut(primary: Kind, replica: Kind, count: u64) {
    let seed = seed("cuts");
    println!("{primary:?} -> {replica:?}: {count} cuts");
    let mut random = Random::new(seed);
    let primary = node(primary, BACKLOG);
    let replica = node(replica, &[]);
    let proxy = Proxy::start(primary.port);
    follow(&replica, proxy.port);
    settle(&primary, &replica);
    let load = Load::start(&primary, random.next());
    for number in 0..count {
        let (cuts, partial) = (proxy.cuts(), granted(&primary).1);
        match random.below(4) {
            0 => proxy.cut(),
            1 => proxy.cut_after(Way::ToPrimary, random.below(ACKS_BYTES)),
            _ => proxy.cut_after(Way::ToReplica, random.below(CUT_WITHIN_BYTES)),
        }
        assert!(holds_within(SYNC_LIMIT, || proxy.cuts() > cuts), "cut {number} did not happen");
        if random.chance(25) {
            let way = if random.chance(50) { Way::ToReplica } else { Way::ToPrimary };
            proxy.cut_after(way, random.below(TALK_BYTES));
        }
        let resumed = holds_within(SYNC_LIMIT, || {
            granted(&primary).1 > partial && is_up(&replica) && lag(&primary, &replica) < LAG_BYTES
        });
        assert!(resumed, "cut {number}: {:?} granted\n{}", granted(&primary), Info::of(&replica).replication());
        assert_eq!(granted(&primary).0, 1, "cut {number} ended in a full synchronisation");
    }
    let requests = load.finish();
    println!("{} cuts, {} connections, {requests} requests", proxy.cuts(), proxy.connections());
    assert_same(&primary, &[&replica], Sameness::All);
    assert_eq!(granted(&primary).0, 1, "one full synchronisation, the first");
}

/// Bytes that the replica has not applied yet.
fn lag(primary: &Server, replica: &Server) -> i64 {
    Info::of(primary).number("master_repl_offset") - Info::of(replica).number("slave_repl_offset")
}

fn count() -> u64 {
    number_from_env("SLOTCORE_REPLICATION_CUTS", 15)
}

#[test]
fn cuts_between_redis_servers() {
    if !super::proves_itself() {
        return;
    }
    cut(Kind::Redis, Kind::Redis, count().min(15));
}

#[test]
fn cuts_between_slotcores() {
    cut(Kind::Slotcore, Kind::Slotcore, count());
}

#[test]
fn cuts_from_redis_server_to_slotcore() {
    cut(Kind::Redis, Kind::Slotcore, count());
}

#[test]
fn cuts_from_slotcore_to_redis_server() {
    cut(Kind::Slotcore, Kind::Redis, count());
}

/// The node in the middle loses its primary, then its own replica loses it: both go on where they were.
#[test]
fn cuts_in_a_chain() {
    for kinds in [[Kind::Redis; 3], [Kind::Redis, Kind::Slotcore, Kind::Redis], [Kind::Slotcore; 3]] {
        let mut random = Random::new(seed("chain"));
        let [first, middle, last] = kinds.map(|kind| node(kind, BACKLOG));
        let (upper, lower) = (Proxy::start(first.port), Proxy::start(middle.port));
        follow(&middle, upper.port);
        settle(&first, &middle);
        follow(&last, lower.port);
        settle(&middle, &last);
        let load = Load::start(&first, random.next());
        for _ in 0..4 {
            for (proxy, primary) in [(&upper, &first), (&lower, &middle)] {
                let (cuts, partial) = (proxy.cuts(), granted(primary).1);
                proxy.cut_after(Way::ToReplica, random.below(CUT_WITHIN_BYTES));
                assert!(holds_within(SYNC_LIMIT, || proxy.cuts() > cuts), "no cut");
                let resumed = || granted(primary).1 > partial && is_up(&middle) && is_up(&last);
                assert!(holds_within(SYNC_LIMIT, resumed), "not resumed");
            }
        }
        load.finish();
        assert_same(&first, &[&middle, &last], Sameness::All);
        assert_eq!((granted(&first).0, granted(&middle).0), (1, 1), "{kinds:?}");
    }
}

#[test]
fn an_absence_longer_than_the_backlog_ends_in_a_full_synchronisation() {
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &["--repl-backlog-size", "100kb"]);
        let replica = node(*replica, &[]);
        let proxy = Proxy::start(primary.port);
        follow(&replica, proxy.port);
        settle(&primary, &replica);
        fill(&primary, 500, 100);
        settle(&primary, &replica);

        proxy.refuse(true);
        proxy.cut();
        wait_until_down(&replica);
        let down_since = || Info::of(&replica).field("master_link_down_since_seconds").is_some();
        assert!(holds_within(SYNC_LIMIT, down_since), "{}", Info::of(&replica).replication());
        primary.connect().must("DEL fill:1 fill:2");
        fill(&primary, 3000, 1000);
        primary.connect().must("DEL fill:7");
        proxy.refuse(false);
        settle(&primary, &replica);
        let info = Info::of(&primary);
        assert_eq!((info.number("sync_full"), info.number("sync_partial_ok")), (2, 0));
        assert!(info.number("sync_partial_err") >= 1, "a place before the backlog is refused and counted");
        let held = info.number("repl_backlog_histlen");
        assert!(held < 1 << 20, "a backlog of 100 kB holds {held} bytes");
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// Nothing comes any more, and nothing is closed: after `repl-timeout` both sides give the link up, and go on with a new one.
#[test]
fn a_silent_link_is_given_up_after_its_time() {
    for (primary, replica) in ALL_PAIRS {
        let args = ["--repl-timeout", "3"];
        let (primary, replica) = (node(*primary, &args), node(*replica, &args));
        let proxy = Proxy::start(primary.port);
        follow(&replica, proxy.port);
        settle(&primary, &replica);
        wait_for_replicas(&primary, 1);
        let connections = proxy.connections();
        proxy.hold(Way::ToReplica, true);
        proxy.hold(Way::ToPrimary, true);
        wait_until_down(&replica);
        let is_gone = || Info::of(&primary).is("connected_slaves", "0");
        assert!(holds_within(SYNC_LIMIT, is_gone), "{}", Info::of(&primary).replication());
        primary.connect().must("SET meanwhile written");
        proxy.cut();
        proxy.hold(Way::ToReplica, false);
        proxy.hold(Way::ToPrimary, false);
        settle(&primary, &replica);
        assert!(proxy.connections() > connections);
        assert_eq!(granted(&primary), (1, 1), "{:?} -> {:?}", primary.kind, replica.kind);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}

/// The backlog goes when there has been no replica for its time, and the history with it: who comes back gets everything.
#[test]
fn a_backlog_without_replicas_is_given_back() {
    for (primary, replica) in ALL_PAIRS {
        let primary = node(*primary, &["--repl-backlog-ttl", "1"]);
        let replica = node(*replica, &[]);
        let proxy = Proxy::start(primary.port);
        follow(&replica, proxy.port);
        settle(&primary, &replica);
        let before = primary.connect().info("master_replid");
        proxy.refuse(true);
        proxy.cut();
        let is_gone = || Info::of(&primary).is("repl_backlog_active", "0");
        assert!(holds_within(Duration::from_secs(20), is_gone), "{}", Info::of(&primary).replication());
        primary.connect().must("SET unheard v");
        assert_ne!(
            primary.connect().info("master_replid"),
            before,
            "what was written without a backlog has another name"
        );
        proxy.refuse(false);
        settle(&primary, &replica);
        assert_eq!(granted(&primary).0, 2);
        assert_same(&primary, &[&replica], Sameness::All);
    }
}
