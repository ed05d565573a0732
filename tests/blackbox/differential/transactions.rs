//! Transactions of random requests: a schedule over several connections, one batch at a time.

use super::generate::{Generator, Request};
use super::has_to_be_alone;
use crate::support::Value;

/// What 7.0 refuses with arguments that 7.2 takes: it would abort the transaction.
const NARROWER_IN_70: &[&[u8]] = &[b"COMMAND", b"ZRANK", b"ZREVRANK"];

/// A batch and the connection that it goes over.
pub type Step = (usize, Vec<Request>);

/// WATCH, MULTI, requests of all families, EXEC, and what other connections do in between.
pub fn steps(generator: &mut Generator, connections: usize) -> Vec<Step> {
    let own = generator.random().index(connections);
    let other = (own + 1 + generator.random().index(connections - 1)) % connections;
    generator.hold_tag();
    let mut steps = Vec::new();
    let mut begin = Vec::new();
    if generator.random().chance(60) {
        for _ in 0..1 + generator.random().below(2) {
            begin.push(generator.line("WATCH {<key>+|<list> <hash>|<set> <zset>|<stream> <key>}"));
        }
        begin.extend(some(generator, 2));
    }
    if generator.random().chance(15) {
        begin.push(generator.line("UNWATCH"));
    }
    if generator.random().chance(40) {
        steps.push((own, std::mem::take(&mut begin)));
        steps.push((other, some(generator, 3)));
    }
    begin.push(generator.line("MULTI"));
    begin.extend(block(generator));
    if generator.random().chance(30) {
        steps.push((own, std::mem::take(&mut begin)));
        steps.push((other, some(generator, 3)));
        begin.extend(block(generator));
    }
    begin.push(match generator.random().below(20) {
        0 | 1 => generator.line("DISCARD"),
        2 => generator.line("RESET"),
        3 => generator.line("EXEC x"),
        _ => generator.line("EXEC"),
    });
    // What an EXEC that was refused would leave open, and otherwise an error.
    if generator.random().chance(10) || begin.last().is_some_and(|request| request.args.len() > 1) {
        begin.push(generator.line("{EXEC|DISCARD}"));
    }
    begin.extend(some(generator, 2));
    steps.push((own, begin));
    generator.let_tag_go();
    steps.retain(|(_, batch)| !batch.is_empty());
    steps
}

/// What stands between MULTI and EXEC; now and then what may not stand there.
fn block(generator: &mut Generator) -> Vec<Request> {
    let mut batch = some(generator, 6);
    if generator.random().chance(8) {
        let at = generator.random().index(batch.len() + 1);
        batch.insert(at, generator.line("{MULTI|WATCH <key>|UNWATCH|DISCARD x|GET|NOSUCH x|SUBSCRIBE}"));
    }
    batch
}

/// Up to `most` requests of any family.
fn some(generator: &mut Generator, most: u64) -> Vec<Request> {
    let count = generator.random().below(most + 1);
    let is_narrower = |request: &Request| NARROWER_IN_70.iter().any(|name| request.args[0].eq_ignore_ascii_case(name));
    let all = (0..count).flat_map(|_| generator.next());
    all.filter(|request| !has_to_be_alone(request) && !is_narrower(request)).collect()
}

/// Requests of a connection that have been queued, with how to compare what EXEC answers for each.
#[derive(Default)]
pub struct Queue {
    queued: Option<Vec<Request>>,
}

impl Queue {
    /// Follows what a request and its reply do to the queue, and returns what EXEC has run.
    pub fn follow(&mut self, request: &Request, reply: &Value) -> Vec<Request> {
        let is = |name: &str| request.args[0].eq_ignore_ascii_case(name.as_bytes());
        let Value::Simple(status) = reply else {
            return if is("EXEC") { self.queued.take().unwrap_or_default() } else { Vec::new() };
        };
        match (&mut self.queued, status.as_str()) {
            (queued @ None, "OK") if is("MULTI") => *queued = Some(Vec::new()),
            (Some(queued), "QUEUED") => queued.push(request.clone()),
            (Some(_), "OK" | "RESET") => self.queued = None,
            _ => {}
        }
        Vec::new()
    }
}
