//! CLIENT LIST, and the line that describes a client there and in CLIENT INFO.
//!
//! The figures of a connection's buffers are what the runtime last reported.

use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::command::client::{Client, CloseReason};
use crate::command::connection::DEFAULT_USER;
use crate::command::context::Context;
use crate::command::error::CommandError;
use crate::command::spec::{CommandResult, Part};
use crate::command::tracking;
use crate::resp::{Args, RespVersion};

/// A connection's receive buffer, as Redis counts a new one: what LIST calls free of it for the client that asks.
const QUERY_BUFFER_BYTES: usize = 16 * 1024;
/// Up to here what waits to be sent counts as lying in the client's own buffer, beyond it as a list of replies.
const OWN_OUTPUT_BYTES: usize = 16 * 1024;

/// What LIST is asked for.
enum Wanted {
    All,
    Type(ClientType),
    Ids(Vec<i64>),
}

/// The kinds that TYPE names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientType {
    Normal,
    Replica,
    PubSub,
    Primary,
}

impl ClientType {
    pub(super) fn parse(name: &[u8]) -> Result<ClientType, CommandError> {
        const NAMES: &[(&[u8], ClientType)] = &[
            (b"normal", ClientType::Normal),
            (b"slave", ClientType::Replica),
            (b"replica", ClientType::Replica),
            (b"pubsub", ClientType::PubSub),
            (b"master", ClientType::Primary),
        ];
        let found = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        found.map(|(_, kind)| *kind).ok_or_else(|| CommandError::quoting("ERR Unknown client type '", name, "'"))
    }

    /// A monitor is a normal client, as in Redis.
    pub(super) fn of(client: &Client) -> ClientType {
        match client {
            Client { is_upstream: true, .. } => ClientType::Primary,
            Client { is_replica: true, .. } => ClientType::Replica,
            client if client.is_listening() => ClientType::PubSub,
            _ => ClientType::Normal,
        }
    }
}

fn wanted(args: &Args<'_>) -> Result<Wanted, CommandError> {
    match args.get(2) {
        None => Ok(Wanted::All),
        Some(word) if args.len() == 4 && word.eq_ignore_ascii_case(b"type") => {
            ClientType::parse(&args[3]).map(Wanted::Type)
        }
        Some(word) if args.len() > 3 && word.eq_ignore_ascii_case(b"id") => {
            let ids = args.iter().skip(3).map(parse_i64).collect::<Option<Vec<i64>>>();
            ids.map(Wanted::Ids).ok_or(CommandError::text_static("ERR Invalid client ID"))
        }
        Some(_) => Err(CommandError::Syntax),
    }
}

/// A core's lines with the numbers of their clients.
type Lines = Vec<(u64, Vec<u8>)>;

pub(super) fn list_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let wanted = wanted(args)?;
    let now = cx.core.clock.unix();
    let own = cx.caller.client.id;
    let mut lines = Lines::new();
    for (_, client) in cx.core.clients.iter().filter(|(_, client)| !is_gone(client)) {
        let is_wanted = match &wanted {
            Wanted::All => true,
            Wanted::Type(kind) => *kind == ClientType::of(client),
            Wanted::Ids(ids) => ids.contains(&(client.id as i64)),
        };
        if is_wanted {
            let mut line = Vec::with_capacity(400);
            describe(client, now, (client.id == own).then_some(args), &mut line);
            lines.push((client.id, line));
        }
    }
    Ok(Part::new(lines))
}

/// In the order of their coming, or in the order in which ID names them.
pub(super) fn list_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let mut lines: Lines = parts.into_iter().flat_map(|part| part.take::<Lines>()).collect();
    lines.sort_unstable_by_key(|(id, _)| *id);
    let mut text = Vec::new();
    if let Wanted::Ids(ids) = wanted(args)? {
        for id in ids {
            if let Ok(at) = lines.binary_search_by_key(&id, |(id, _)| *id as i64) {
                text.extend_from_slice(&lines[at].1);
            }
        }
    } else {
        lines.iter().for_each(|(_, line)| text.extend_from_slice(line));
    }
    cx.reply.verbatim("txt", &text);
    Ok(())
}

/// On its way out: it still has a place, but is no client any more.
pub(super) fn is_gone(client: &Client) -> bool {
    client.closing.is_some_and(|reason| reason != CloseReason::AfterReply)
}

/// Writes a client's line. `request`: the arguments of the request that asks, when it is the client's own.
pub(super) fn describe(client: &Client, now: UnixMillis, request: Option<&Args<'_>>, out: &mut Vec<u8>) {
    let figures = Figures::of(client, request);
    let mut field = |name: &str, value: &[u8]| {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
    };
    field("id", client.id.to_string().as_bytes());
    field("addr", client.peer.to_string().as_bytes());
    field("laddr", client.local.to_string().as_bytes());
    field("fd", client.descriptor.to_string().as_bytes());
    field("name", &client.name);
    field("age", (now.seconds() - client.created.seconds()).to_string().as_bytes());
    field("idle", (now.seconds() - client.last_interaction.seconds()).to_string().as_bytes());
    field("flags", client.flags_text().as_bytes());
    field("db", client.db.to_string().as_bytes());
    for (name, count) in ["sub", "psub", "ssub"].into_iter().zip(client.subscriptions) {
        field(name, count.to_string().as_bytes());
    }
    let queued = client.transaction.as_ref().map_or(-1, |transaction| transaction.queue.len() as i64);
    field("multi", queued.to_string().as_bytes());
    for (name, value) in figures.fields() {
        field(name, value.to_string().as_bytes());
    }
    field("events", if figures.is_sending { b"rw" } else { b"r" });
    field("cmd", client.last_command.map_or("NULL", |row| row.name).as_bytes());
    field("user", DEFAULT_USER.as_bytes());
    field("redir", tracking::redirection(client).to_string().as_bytes());
    field("resp", if client.resp == RespVersion::V3 { b"3" } else { b"2" });
    field("lib-name", &client.library_name);
    field("lib-ver", &client.library_version);
    out.push(b'\n');
}

/// The sizes in a client's line, in bytes except `replies_count`.
struct Figures {
    query_buffer: usize,
    query_buffer_free: usize,
    arguments: usize,
    output_buffer: usize,
    output_peak: usize,
    output_own: usize,
    replies_count: usize,
    output_list: usize,
    total: usize,
    is_sending: bool,
}

impl Figures {
    fn of(client: &Client, request: Option<&Args<'_>>) -> Figures {
        let traffic = &client.traffic;
        // The running request is no longer in the buffer that the runtime reported, but Redis counts it.
        let query_buffer = request.map_or(traffic.query_buffer_bytes, |args| request_bytes(args));
        let query_buffer_free = match request {
            None => traffic.query_buffer_free_bytes,
            Some(_) => traffic.query_buffer_free_bytes.max(QUERY_BUFFER_BYTES.saturating_sub(query_buffer)),
        };
        let reported = traffic.query_buffer_bytes + traffic.query_buffer_free_bytes;
        let arguments = request.map_or(0, |args| args.total_bytes());
        let is_large = traffic.output_bytes > OWN_OUTPUT_BYTES;
        Figures {
            query_buffer,
            query_buffer_free,
            arguments,
            output_buffer: traffic.output_memory_bytes.min(OWN_OUTPUT_BYTES),
            output_peak: traffic.largest_output_bytes.min(OWN_OUTPUT_BYTES),
            output_own: traffic.output_bytes.min(OWN_OUTPUT_BYTES),
            replies_count: traffic.output_bytes.saturating_sub(OWN_OUTPUT_BYTES).div_ceil(OWN_OUTPUT_BYTES),
            output_list: if is_large { traffic.output_memory_bytes } else { 0 },
            total: client.memory_bytes() - reported + query_buffer + query_buffer_free + arguments,
            is_sending: traffic.output_bytes > 0,
        }
    }

    fn fields(&self) -> [(&'static str, usize); 10] {
        [
            ("qbuf", self.query_buffer),
            ("qbuf-free", self.query_buffer_free),
            ("argv-mem", self.arguments),
            ("multi-mem", 0),
            ("rbs", self.output_buffer),
            ("rbp", self.output_peak),
            ("obl", self.output_own),
            ("oll", self.replies_count),
            ("omem", self.output_list),
            ("tot-mem", self.total),
        ]
    }
}

/// The size of a request as an array of bulk strings.
fn request_bytes(args: &Args<'_>) -> usize {
    let header = |number: usize| number.to_string().len() + 3;
    header(args.len()) + args.iter().map(|argument| header(argument.len()) + argument.len() + 2).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::client::Endpoint;
    use crate::resp::ArgsBuf;

    fn client(id: u64) -> Client {
        let endpoint = |port: u16| Endpoint::Tcp(([127, 0, 0, 1], port).into());
        Client::new(id, 0, 9, endpoint(1000), endpoint(6379), UnixMillis(5_500))
    }

    fn args(line: &str) -> ArgsBuf {
        ArgsBuf::from_iter(line.split(' '))
    }

    #[test]
    fn a_line_has_every_field_of_7_2() {
        let request = args("client list");
        let mut line = Vec::new();
        describe(&client(7), UnixMillis(8_000), Some(&request.as_args()), &mut line);
        let line = String::from_utf8(line).unwrap();
        let (fixed, sizes) = line.split_once(" rbs=").unwrap();
        assert_eq!(
            fixed,
            "id=7 addr=127.0.0.1:1000 laddr=127.0.0.1:6379 fd=9 name= age=3 idle=3 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 \
             qbuf=26 qbuf-free=16358 argv-mem=10 multi-mem=0"
        );
        let names: Vec<&str> = sizes.split(' ').skip(1).filter_map(|field| field.split('=').next()).collect();
        let expected =
            ["rbp", "obl", "oll", "omem", "tot-mem", "events", "cmd", "user", "redir", "resp", "lib-name", "lib-ver"];
        assert_eq!(names, expected);
    }
}
