//! Clients that wait, beside redis-server: a schedule that is the same on both sides.
//!
//! In each round some connections send commands that wait without a limit, and others bring, take away and rename keys. After every
//! step the test goes on only when each server says that as many clients are blocked as have no reply yet; then all
//! replies are compared, those of the step and those that came to waiting clients. A round ends with CLIENT UNBLOCK for
//! who still waits.
//!
//! 7.0 serves in another way than 7.2: with it as the peer only waits for a single key are compared.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::generate::Compare::StreamTimes;
use super::generate::{Generator, Request};
use super::{Side, cut, is_known, same, seed, shown};
use crate::support::client::encode;
use crate::support::{Reply, Server, number_from_env};

/// Connections: 0 looks, then come those that act, then those that wait.
const ACTORS: std::ops::Range<usize> = 1..3;
const WAITERS: std::ops::Range<usize> = 3..8;
const STEPS_PER_ROUND: u64 = 14;
/// How long both servers are waited for until what they have done counts as different.
const PATIENCE: Duration = Duration::from_secs(5);

/// `<q>`, `<z>`, `<s>` are keys of lists, sorted sets and streams, mostly; `<any>` is one of all, `<new>` an id.
const WAITS: &[&str] = &[
    "{BLPOP|BRPOP} <q> 0",
    "{BLPOP|BRPOP} <q>+ 0",
    "BLMOVE <q> <q> {LEFT|RIGHT} {LEFT|RIGHT} 0",
    "BRPOPLPUSH <q> <q> 0",
    "BLMPOP 0 2 <q> <q> {LEFT|RIGHT|LEFT COUNT 2}",
    "{BZPOPMIN|BZPOPMAX} <z>+ 0",
    "BZMPOP 0 2 <z> <z> {MIN|MAX|MIN COUNT 2}",
    "XREAD BLOCK 0 STREAMS <s> $",
    "XREAD COUNT 1 BLOCK 0 STREAMS <s> <s> $ $",
    "XREAD BLOCK 0 STREAMS <s> 30-0",
    "XREADGROUP GROUP g {c|d} BLOCK 0 STREAMS <s> >",
    "XREADGROUP GROUP g c BLOCK 0 NOACK COUNT 1 STREAMS <s> <s> > >",
];

/// Those that 7.0 serves as 7.2 does: for one key, which moves nothing on.
const WAITS_IN_70: &[&str] = &[
    "{BLPOP|BRPOP} <q> 0",
    "BLMPOP 0 1 <q> {LEFT|RIGHT|LEFT COUNT 2}",
    "{BZPOPMIN|BZPOPMAX} <z> 0",
    "BZMPOP 0 1 <z> {MIN|MAX|MIN COUNT 2}",
];

const ACTS: &[&str] = &[
    "{LPUSH|RPUSH} <q> {a|b|c}",
    "{LPUSH|RPUSH} <q> {a b|c d e}",
    "{LPUSH|RPUSH} <q> {a|b|c}",
    "RPUSHX <q> x",
    "LINSERT <q> BEFORE a x",
    "ZADD <z> {1|2|3} {a|b|c}",
    "ZADD <z> 1 a 2 b 3 c",
    "ZINCRBY <z> 1 a",
    "GEOADD <z> 1 1 a",
    "XADD <s> <new> f {a|b}",
    "XADD <s> <new> f {a|b}",
    "XADD <s> MAXLEN 1 <new> f a",
    "XGROUP CREATE <s> g {$|0} MKSTREAM",
    "XGROUP {DESTROY <s> g|DELCONSUMER <s> g c|SETID <s> g 0}",
    "XREADGROUP GROUP g e STREAMS <s> >",
    "XSETID <s> <new>",
    "{DEL|UNLINK} <any>",
    "{DEL|UNLINK} <any> <any> <any>",
    "RENAME <any> <any>",
    "COPY <any> <any> REPLACE",
    "SET <any> 1",
    "EXPIREAT <any> 1",
    "SORT <q> ALPHA STORE <q>",
    "{LMOVE <q> <q> LEFT RIGHT|RPOPLPUSH <q> <q>|LPOP <q>|LTRIM <q> 1 -1|LMPOP 1 <q> LEFT}",
    "{ZRANGESTORE <z> <z> 0 -1|ZUNIONSTORE <z> 1 <z>|ZPOPMIN <z>|ZMPOP 1 <z> MAX}",
    "{FLUSHDB|FLUSHALL|DBSIZE}",
    "{SWAPDB 0 1|MOVE <any> 1|DBSIZE}",
];

const NAMES: &[&str] = &["l0", "l1", "l2", "z0", "z1", "s0", "s1"];

#[test]
fn waiting_clients_of_a_standalone_node_are_served_as_by_redis() {
    run(false);
}

#[test]
fn waiting_clients_of_a_one_node_cluster_are_served_as_by_redis() {
    run(true);
}

fn run(cluster: bool) {
    let seed = seed();
    // A step is some requests, and takes as long as many.
    let rounds = number_from_env("SLOTCORE_DIFF_COMMANDS", 40_000) / 2 / 200;
    println!("SLOTCORE_DIFF_SEED={seed}, {rounds} rounds of waiting, cluster: {cluster}");
    let args: &[&str] = if cluster { &["--cluster-enabled", "yes"] } else { &[] };
    let connections = WAITERS.end;
    let servers = [Server::slotcore(args), Server::redis(args)];
    let mut sides = servers.map(|server| Side::new(server, cluster, connections));
    let serves_one_by_one =
        sides[1].clients[0].info("redis_version").is_some_and(|version| version.starts_with("7.0."));
    let mut schedule = Schedule {
        generator: Generator::new(seed, cluster),
        cluster,
        tag: 0,
        last_id: 0,
        serves_one_by_one,
        sides,
        waiting: vec![VecDeque::new(); connections],
        log: Vec::new(),
    };
    let mut differences = Vec::new();
    for round in 0..rounds {
        if let Err(difference) = schedule.round() {
            let lines = schedule.log.join("\n  ");
            let text = format!("seed {seed}, cluster: {cluster}, round {round}\n  {lines}\n{difference}");
            println!("{text}\n");
            differences.push(text);
            if differences.len() == 5 {
                break;
            }
        }
    }
    assert!(differences.is_empty(), "{} differences\n\n{}", differences.len(), differences.join("\n\n"));
}

struct Schedule {
    generator: Generator,
    cluster: bool,
    tag: u64,
    /// The peer is of 7.0, where who waits is served key by key, with what that key has, and does not run its command anew.
    serves_one_by_one: bool,
    last_id: u64,
    /// Ours and theirs.
    sides: [Side; 2],
    /// Per connection, the requests that have no reply yet.
    waiting: Vec<VecDeque<Request>>,
    /// What has been sent in this round.
    log: Vec<String>,
}

/// Replies that came to waiting clients, per connection.
type Arrived = Vec<Vec<Reply>>;

impl Schedule {
    /// One round from empty servers and new connections.
    fn round(&mut self) -> Result<(), String> {
        self.log.clear();
        self.tag = self.generator.random().below(6);
        self.waiting.iter_mut().for_each(VecDeque::clear);
        for side in &mut self.sides {
            side.reconnect();
            side.clients[0].must("FLUSHALL");
        }
        self.settle()?;
        for _ in 0..STEPS_PER_ROUND {
            self.step()?;
        }
        for waiter in WAITERS {
            // Who has sent several commands may wait several times.
            while !self.waiting[waiter].is_empty() {
                self.unblock(waiter)?;
            }
        }
        self.compare_keys()
    }

    fn step(&mut self) -> Result<(), String> {
        let idle: Vec<usize> = WAITERS.filter(|waiter| self.waiting[*waiter].is_empty()).collect();
        // Which of two connections that have sent several requests comes first is for each server to say.
        let is_pipelined = self.waiting.iter().any(|requests| requests.len() > 1);
        let choice = self.generator.random().below(100);
        if choice < 40 && !idle.is_empty() {
            let waiter = idle[self.generator.random().index(idle.len())];
            let waits = if self.serves_one_by_one { WAITS_IN_70 } else { WAITS };
            let mut requests = vec![self.request(waits)];
            if !is_pipelined && self.generator.random().chance(15) {
                requests.push(self.request(&["PING", "RPUSH <q> mine", "XADD <s> <new> f mine", "BLPOP <q> 0"]));
            }
            self.begin(waiter, &requests);
            return self.settle();
        }
        if choice < 45 {
            let waiter = WAITERS.start + self.generator.random().index(WAITERS.len());
            return self.unblock(waiter);
        }
        let actor = ACTORS.start + self.generator.random().index(ACTORS.len());
        let in_transaction = choice < 70;
        let count = if is_pipelined && !in_transaction { 1 } else { 1 + self.generator.random().below(3) };
        let mut requests: Vec<Request> = (0..count).flat_map(|_| self.change()).collect();
        if in_transaction {
            // Here a transaction that concerns all cores of a cluster node is seen in between.
            requests.retain(|request| !self.cluster || request.args.len() > 1);
            if self.generator.random().chance(20) {
                requests.push(self.request(WAITS));
            }
            requests.insert(0, self.generator.line("MULTI"));
            requests.push(self.generator.line("EXEC"));
        }
        self.act(actor, &requests)?;
        self.settle()
    }

    /// A request of `ACTS`. What stores a result finds nothing under its key: Redis would not wake who waits for a key that
    /// changes its type in one step, and here they are served.
    fn change(&mut self) -> Vec<Request> {
        let request = self.request(ACTS);
        let mut requests = Vec::new();
        for (name, destination) in [("SORT", 4), ("ZRANGESTORE", 1), ("ZUNIONSTORE", 1)] {
            if request.args[0].as_slice() == name.as_bytes() {
                let mut remove = self.generator.line("DEL");
                remove.args.push(request.args[destination].clone());
                requests.push(remove);
            }
        }
        requests.push(request);
        requests
    }

    fn request(&mut self, templates: &[&str]) -> Request {
        let template = self.generator.random().pick(templates);
        let mut request = self.generator.line(template);
        let cluster = self.cluster;
        // A cluster node has one database, and 7.2 and 7.0 say so in different words.
        if cluster && [&b"SWAPDB"[..], b"MOVE"].contains(&request.args[0].as_slice()) {
            request = self.generator.line("DBSIZE");
        }
        for arg in &mut request.args {
            let names = match arg.as_slice() {
                b"<q>" => &NAMES[..3],
                b"<z>" => &NAMES[3..5],
                b"<s>" => &NAMES[5..],
                b"<any>" => NAMES,
                b"<new>" => {
                    self.last_id += 1;
                    *arg = format!("{}-1", self.last_id).into_bytes();
                    continue;
                }
                _ => continue,
            };
            let crosses = !self.serves_one_by_one && self.generator.random().chance(7);
            let names = if crosses { NAMES } else { names };
            *arg = key(cluster, self.tag, self.generator.random().pick(names));
        }
        request
    }

    /// Sends what waits; its replies come with `settle`.
    fn begin(&mut self, waiter: usize, requests: &[Request]) {
        for request in requests {
            self.log.push(format!("[{waiter}] {}", shown(&request.args)));
        }
        let bytes: Vec<u8> = requests.iter().flat_map(|request| encode(&request.args)).collect();
        for side in &mut self.sides {
            side.clients[waiter].send(&bytes);
        }
        self.waiting[waiter].extend(requests.iter().cloned());
    }

    /// Sends what is answered at once, and compares the answers.
    fn act(&mut self, actor: usize, requests: &[Request]) -> Result<(), String> {
        for request in requests {
            self.log.push(format!("[{actor}] {}", shown(&request.args)));
        }
        let [ours, theirs] = self.sides.each_mut().map(|side| side.exchange(actor, requests));
        for (request, (our, their)) in requests.iter().zip(ours.iter().zip(&theirs)) {
            compare(actor, request, our, their)?;
        }
        Ok(())
    }

    fn unblock(&mut self, waiter: usize) -> Result<(), String> {
        let reason = self.generator.random().pick(&["", " ERROR", " TIMEOUT"]);
        self.log.push(format!("[0] CLIENT UNBLOCK (the id of {waiter}){reason}"));
        let [our, their] = self.sides.each_mut().map(|side| {
            let line = format!("CLIENT UNBLOCK {}{reason}", side.ids[waiter]);
            side.clients[0].line(&line)
        });
        compare(0, &self.generator.line("CLIENT UNBLOCK"), &our, &their)?;
        self.settle()
    }

    /// Waits until each server has either answered or blocked every client, and compares what has come.
    fn settle(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let outstanding: Vec<usize> = self.waiting.iter().map(VecDeque::len).collect();
        let mut arrived: [Arrived; 2] = [(); 2].map(|()| vec![Vec::new(); outstanding.len()]);
        loop {
            let mut is_settled = true;
            for (side, arrived) in self.sides.iter_mut().zip(&mut arrived) {
                is_settled &= side.collect(&outstanding, arrived);
            }
            let [ours, theirs] = &arrived;
            let is_same = ours.iter().map(Vec::len).eq(theirs.iter().map(Vec::len));
            if is_settled && is_same || Instant::now() > deadline {
                break;
            }
        }
        let [ours, theirs] = arrived;
        for (waiter, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            for (our, their) in ours.iter().zip(theirs) {
                let request = self.waiting[waiter].pop_front().expect("no more replies than requests");
                compare(waiter, &request, our, their)?;
            }
            if ours.len() != theirs.len() {
                let texts = |replies: &[Reply]| replies.iter().map(|reply| cut(&reply.to_string())).collect::<Vec<_>>();
                let (ours, theirs) = (texts(ours).join(" "), texts(theirs).join(" "));
                return Err(format!("connection {waiter} has got\n  slotcore: {ours}\n  redis:    {theirs}"));
            }
        }
        if Instant::now() > deadline {
            return Err("as many clients are never blocked as have no reply".to_owned());
        }
        Ok(())
    }

    fn compare_keys(&mut self) -> Result<(), String> {
        let mut requests = vec![self.generator.line("DBSIZE")];
        for name in NAMES {
            let key = key(self.cluster, self.tag, name);
            for line in ["TYPE", "GET", "LRANGE 0 -1", "ZRANGE 0 -1 WITHSCORES", "XRANGE - +", "XPENDING g - + 20"] {
                let mut request = self.generator.line(line);
                request.args.insert(1, key.clone());
                request.compare = StreamTimes;
                requests.push(request);
            }
        }
        self.act(0, &requests)
    }
}

fn key(cluster: bool, tag: u64, name: &str) -> Vec<u8> {
    if cluster { format!("{{t{tag}}}{name}").into_bytes() } else { name.as_bytes().to_vec() }
}

fn compare(connection: usize, request: &Request, our: &Reply, their: &Reply) -> Result<(), String> {
    if our.raw == their.raw || same(our, their, request.compare) || is_known(&request.args, our, their) {
        return Ok(());
    }
    let (our, their) = (cut(&our.to_string()), cut(&their.to_string()));
    Err(format!("[{connection}] {}\n  slotcore: {our}\n  redis:    {their}", shown(&request.args)))
}

impl Side {
    /// All connections anew; whoever waited has gone.
    fn reconnect(&mut self) {
        let count = self.clients.len();
        self.clients = (0..count).map(|_| self.server.connect()).collect();
        self.ids = self.clients.iter_mut().map(|client| client.must("CLIENT ID").integer()).collect();
    }

    /// Takes the replies that are there. True when all clients that have one outstanding are blocked.
    fn collect(&mut self, outstanding: &[usize], arrived: &mut Arrived) -> bool {
        let mut waiting = 0;
        for (connection, count) in outstanding.iter().enumerate() {
            while arrived[connection].len() < *count {
                let Some(reply) = self.clients[connection].read_what_is_there() else {
                    waiting += 1;
                    break;
                };
                arrived[connection].push(reply);
            }
        }
        let info = self.clients[0].must("INFO clients").text();
        info.lines().any(|line| line == format!("blocked_clients:{waiting}"))
    }
}
