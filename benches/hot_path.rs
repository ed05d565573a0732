//! The steps that every request goes through: parsing, hashing its key, writing its reply.
//!
//! `cargo bench --bench hot_path`, or `-- slot` for a group.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use slotcore::base::slot::{crc16, key_slot};
use slotcore::resp::{Parse, Reply, ReplyBuffer, RequestLimits, RequestParser, RespVersion};
use std::hint::black_box;

/// Requests in one receive buffer, as `redis-benchmark -P 64` fills it.
const PIPELINE: u64 = 64;

const LIMITS: RequestLimits = RequestLimits { bulk_bytes_max: 512 << 20, authenticated: true };

fn pipeline(request: &str) -> Vec<u8> {
    request.repeat(PIPELINE as usize).into_bytes()
}

/// Parses everything in `input`; the arguments' bytes, so that they are read.
fn parse_all(parser: &mut RequestParser, input: &[u8]) -> usize {
    let mut bytes = 0;
    let mut rest = input;
    while let Parse::Request { bytes: end } = parser.parse(rest, &LIMITS) {
        let args = parser.args(rest);
        bytes += args.get(0).map_or(0, <[u8]>::len) + args.get(1).map_or(0, <[u8]>::len);
        parser.next();
        rest = &rest[end..];
    }
    bytes
}

fn parser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parser");
    group.throughput(Throughput::Elements(PIPELINE));
    let get = pipeline("*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n");
    let set = pipeline("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$16\r\nvalue:0000000042\r\n");
    let mset = pipeline(&format!("*21\r\n$4\r\nMSET\r\n{}", "$16\r\nkey:000000000042\r\n".repeat(20)));
    let inline = pipeline("PING\r\n");
    let mut parser = RequestParser::new();
    for (name, input) in [("get", &get), ("set", &set), ("mset_10", &mset), ("inline", &inline)] {
        group.bench_function(name, |bench| {
            bench.iter(|| parse_all(&mut parser, black_box(input)));
        });
    }
    group.finish();
}

fn slot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slot");
    let key = b"key:000000000042";
    group.bench_function("crc16_16", |bench| bench.iter(|| crc16(black_box(key))));
    group.bench_function("crc16_16_bytewise_crate", |bench| {
        bench.iter(|| ::crc16::State::<::crc16::XMODEM>::calculate(black_box(key)));
    });
    group.bench_function("key_16", |bench| bench.iter(|| key_slot(black_box(key))));
    group.bench_function("key_13", |bench| bench.iter(|| key_slot(black_box(&key[..13]))));
    group.bench_function("key_with_tag", |bench| bench.iter(|| key_slot(black_box(b"{user1000}.following"))));
    group.finish();
}

fn reply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reply");
    group.throughput(Throughput::Elements(PIPELINE));
    let mut buffer = ReplyBuffer::new();
    let value = b"value:0000000042";
    let mut bench = |name: &str, write: &dyn Fn(&mut Reply<'_>)| {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                buffer.advance(buffer.len_bytes());
                let mut reply = Reply::new(&mut buffer, RespVersion::V2);
                (0..PIPELINE).for_each(|_| write(&mut reply));
                buffer.len_bytes()
            });
        });
    };
    bench("ok", &|reply| reply.ok());
    bench("bulk_16", &|reply| reply.bulk(black_box(value)));
    bench("integer", &|reply| reply.integer(black_box(1_234_567)));
    bench("array_of_10", &|reply| {
        reply.array(10);
        (0..10).for_each(|_| reply.bulk(black_box(value)));
    });
    group.finish();
}

criterion_group!(benches, parser, slot, reply);
criterion_main!(benches);
