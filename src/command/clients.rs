//! CLIENT: what a client says of itself, and what is known of all of them.
//!
//! A client lies on the core of its connection, so LIST and KILL ask every core. The data are in `client`; the figures of
//! a connection's buffers are what the runtime last reported.

use super::client::{Client, CloseReason, ReplyMode, check_name};
use super::connection::DEFAULT_USER;
use super::context::Context;
use super::core::Effect;
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Part, Run};
use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::resp::{Args, RespVersion};

const ANY_TIME: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
const ADMIN: Flags = ANY_TIME.and(Flags::ADMIN);
/// A connection's receive buffer, as Redis counts a new one: what LIST calls free of it for the client that asks.
const QUERY_BUFFER_BYTES: usize = 16 * 1024;
/// Up to here what waits to be sent counts as lying in the client's own buffer, beyond it as a list of replies.
const OWN_OUTPUT_BYTES: usize = 16 * 1024;

const CLIENT: CommandSpec = CommandSpec {
    name: "client",
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    keys: Keys::None,
    group: Group::Connection,
    since: "2.4.0",
    summary: "Commands about client connections.",
    complexity: "Depends on subcommand.",
    syntax: "",
    run: Run::Container,
};

/// A sub-command without arguments that only reads its own client.
const SUB: CommandSpec = CommandSpec { arity: Arity::Exactly(2), flags: ANY_TIME, complexity: "O(1)", ..CLIENT };

pub const COMMANDS: &[CommandSpec] = &[
    CLIENT,
    CommandSpec {
        name: "client|id",
        since: "5.0.0",
        summary: "Answers the connection's number, which is never given twice.",
        run: Run::OnConnection(id),
        ..SUB
    },
    CommandSpec {
        name: "client|info",
        since: "6.2.0",
        summary: "Answers the connection's line of CLIENT LIST.",
        run: Run::OnConnection(info),
        ..SUB
    },
    CommandSpec {
        name: "client|list",
        arity: Arity::AtLeast(2),
        flags: ADMIN,
        summary: "Answers a line for each connection.",
        complexity: "O(N) where N is the number of client connections",
        syntax: "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        run: Run::OnEveryCore { part: list_part, merge: list_merge },
        ..SUB
    },
    CommandSpec {
        name: "client|kill",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        summary: "Closes connections.",
        complexity: "O(N) where N is the number of client connections",
        syntax: "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] \
                 | [ADDR addr] | [LADDR laddr] | [SKIPME <YES | NO>]> ...>",
        run: Run::OnEveryCore { part: kill_part, merge: kill_merge },
        ..SUB
    },
    CommandSpec {
        name: "client|setname",
        arity: Arity::Exactly(3),
        since: "2.6.9",
        summary: "Names the connection.",
        syntax: "connection-name",
        run: Run::OnConnection(set_name),
        ..SUB
    },
    CommandSpec {
        name: "client|getname",
        since: "2.6.9",
        summary: "Answers the connection's name.",
        run: Run::OnConnection(get_name),
        ..SUB
    },
    CommandSpec {
        name: "client|setinfo",
        arity: Arity::Exactly(4),
        since: "7.2.0",
        summary: "Says which library the client uses.",
        syntax: "<LIB-NAME libname | LIB-VER libver>",
        run: Run::OnConnection(set_info),
        ..SUB
    },
    CommandSpec {
        name: "client|reply",
        arity: Arity::Exactly(3),
        since: "3.2.0",
        summary: "Switches replies to this connection off and on.",
        syntax: "<ON | OFF | SKIP>",
        run: Run::OnConnection(reply),
        ..SUB
    },
    CommandSpec {
        name: "client|pause",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        since: "3.0.0",
        summary: "Lets clients wait for a time, all of them or those that write.",
        syntax: "timeout [WRITE | ALL]",
        run: Run::OnEveryCore { part: pause_part, merge: answer_ok },
        ..SUB
    },
    CommandSpec {
        name: "client|unpause",
        flags: ADMIN,
        since: "6.2.0",
        summary: "Ends a pause.",
        complexity: "O(N) where N is the number of clients that wait",
        run: Run::OnEveryCore { part: unpause_part, merge: answer_ok },
        ..SUB
    },
    CommandSpec {
        name: "client|no-evict",
        arity: Arity::Exactly(3),
        flags: ADMIN,
        since: "7.0.0",
        summary: "Spares the connection when client memory runs short.",
        syntax: "<ON | OFF>",
        run: Run::OnConnection(no_evict),
        ..SUB
    },
    CommandSpec {
        name: "client|no-touch",
        arity: Arity::Exactly(3),
        since: "7.2.0",
        summary: "Lets the connection's commands leave the access times of keys alone.",
        syntax: "<ON | OFF>",
        run: Run::OnConnection(no_touch),
        ..SUB
    },
    CommandSpec {
        name: "client|help",
        flags: Flags::LOADING.and(Flags::STALE),
        since: "5.0.0",
        summary: "Lists the sub-commands.",
        run: Run::OnConnection(help),
        ..SUB
    },
];

// ---- about the client itself ----------------------------------------------------------------------------------------

fn id(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let id = cx.caller.client.id;
    cx.reply.integer(id as i64);
    Ok(())
}

fn info(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let now = cx.core.clock.unix();
    let mut line = Vec::new();
    describe(cx.client(), now, Some(args), &mut line);
    cx.reply.verbatim("txt", &line);
    Ok(())
}

fn set_name(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    check_name(&args[2], "Client names")?;
    cx.client().name = args[2].to_vec();
    cx.reply.ok();
    Ok(())
}

fn get_name(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let name = cx.client().name.clone();
    if name.is_empty() {
        cx.reply.null()
    } else {
        cx.reply.bulk(&name)
    }
    Ok(())
}

/// CLIENT SETINFO <LIB-NAME | LIB-VER> value.
fn set_info(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let attribute = &args[2];
    let shown = String::from_utf8_lossy(attribute);
    let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        return Err(CommandError::formatted(format!("ERR Unrecognized option '{shown}'")));
    }
    check_name(&args[3], &shown)?;
    let client = cx.client();
    let field = if is_name { &mut client.library_name } else { &mut client.library_version };
    *field = args[3].to_vec();
    cx.reply.ok();
    Ok(())
}

/// CLIENT REPLY <ON | OFF | SKIP>: only ON answers; the runtime drops what others answer meanwhile.
fn reply(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let mode = &args[2];
    let client = cx.client();
    if mode.eq_ignore_ascii_case(b"on") {
        client.reply_mode = ReplyMode::On;
        cx.reply.ok();
    } else if mode.eq_ignore_ascii_case(b"off") {
        client.reply_mode = ReplyMode::Off;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        if client.reply_mode != ReplyMode::Off {
            client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}

fn no_evict(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    cx.client().no_evict = on_or_off(&args[2])?;
    cx.reply.ok();
    Ok(())
}

fn no_touch(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    cx.client().no_touch = on_or_off(&args[2])?;
    cx.reply.ok();
    Ok(())
}

fn on_or_off(word: &[u8]) -> Result<bool, CommandError> {
    match word {
        on if on.eq_ignore_ascii_case(b"on") => Ok(true),
        off if off.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

// ---- LIST -----------------------------------------------------------------------------------------------------------

/// What LIST is asked for.
enum Wanted {
    All,
    Type(ClientType),
    Ids(Vec<i64>),
}

/// The kinds that TYPE names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientType {
    Normal,
    Replica,
    PubSub,
    Primary,
}

impl ClientType {
    fn parse(name: &[u8]) -> Result<ClientType, CommandError> {
        const NAMES: &[(&[u8], ClientType)] = &[
            (b"normal", ClientType::Normal),
            (b"slave", ClientType::Replica),
            (b"replica", ClientType::Replica),
            (b"pubsub", ClientType::PubSub),
            (b"master", ClientType::Primary),
        ];
        let found = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            CommandError::formatted(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(name)))
        })
    }

    /// A monitor is a normal client, as in Redis.
    fn of(_: &Client) -> ClientType {
        ClientType::Normal
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

fn list_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
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
fn list_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
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
fn is_gone(client: &Client) -> bool {
    client.closing.is_some_and(|reason| reason != CloseReason::AfterReply)
}

/// Writes a client's line. `request`: the arguments of the request that asks, when it is the client's own.
fn describe(client: &Client, now: UnixMillis, request: Option<&Args<'_>>, out: &mut Vec<u8>) {
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
    for (name, value) in [("sub", "0"), ("psub", "0"), ("ssub", "0"), ("multi", "-1")] {
        field(name, value.as_bytes());
    }
    for (name, value) in figures.fields() {
        field(name, value.to_string().as_bytes());
    }
    field("events", if figures.is_sending { b"rw" } else { b"r" });
    field("cmd", client.last_command.map_or("NULL", |row| row.name).as_bytes());
    field("user", DEFAULT_USER.as_bytes());
    field("redir", b"-1");
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

// ---- KILL -----------------------------------------------------------------------------------------------------------

/// Which clients KILL means: those that every given filter matches.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientType>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    spares_caller: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: &Args<'a>) -> Result<Filter<'a>, CommandError> {
        // The old form, an address alone, may end the caller too.
        if args.len() == 3 {
            return Ok(Filter { address: args.get(2), ..Filter::default() });
        }
        let mut filter = Filter { spares_caller: true, ..Filter::default() };
        for at in (2..args.len()).step_by(2) {
            let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
            filter.option(&args[at].to_ascii_lowercase(), value)?;
        }
        Ok(filter)
    }

    fn option(&mut self, name: &[u8], value: &'a [u8]) -> CommandResult {
        match name {
            b"id" => {
                let id = parse_i64(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                self.id = Some(id.ok_or(CommandError::text_static("ERR client-id should be greater than 0"))?);
            }
            b"type" => self.kind = Some(ClientType::parse(value)?),
            b"addr" => self.address = Some(value),
            b"laddr" => self.local_address = Some(value),
            // Every client is the default user, so the filter leaves all of them.
            b"user" if value == DEFAULT_USER.as_bytes() => {}
            b"user" => {
                let user = String::from_utf8_lossy(value);
                return Err(CommandError::formatted(format!("ERR No such user '{user}'")));
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.spares_caller = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.spares_caller = false,
            _ => return Err(CommandError::Syntax),
        }
        Ok(())
    }

    fn matches(&self, client: &Client, caller: u64) -> bool {
        self.id.is_none_or(|id| client.id == id)
            && self.kind.is_none_or(|kind| kind == ClientType::of(client))
            && self.address.is_none_or(|address| client.peer.to_string().as_bytes() == address)
            && self.local_address.is_none_or(|address| client.local.to_string().as_bytes() == address)
            && !(self.spares_caller && client.id == caller)
    }
}

fn kill_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let filter = Filter::parse(args)?;
    let caller = cx.caller.client.id;
    let mut killed_count = 0usize;
    for (index, client) in &cx.core.clients {
        if is_gone(client) || !filter.matches(client, caller) {
            continue;
        }
        // Who ends itself still gets the answer.
        let reason = if client.id == caller { CloseReason::AfterReply } else { CloseReason::Killed };
        cx.core.effects.push(Effect::Close { index: index as u32, reason });
        killed_count += 1;
    }
    Ok(Part::new(killed_count))
}

fn kill_merge(cx: &mut Context<'_>, args: &Args<'_>, parts: Vec<Part>) -> CommandResult {
    let killed_count: usize = parts.into_iter().map(|part| part.take::<usize>()).sum();
    match (args.len(), killed_count) {
        (3, 0) => return Err(CommandError::text_static("ERR No such client")),
        (3, _) => cx.reply.ok(),
        _ => cx.reply.integer(killed_count as i64),
    }
    Ok(())
}

// ---- PAUSE ----------------------------------------------------------------------------------------------------------

/// CLIENT PAUSE timeout [WRITE | ALL], the timeout in milliseconds.
fn pause_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let now = cx.core.clock.unix();
    let everything = match args.get(3) {
        _ if args.len() > 4 => return Err(malformed(args)),
        None => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => true,
        Some(_) => return Err(CommandError::text_static("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let until = deadline(&args[2], now)?;
    cx.core.pause.begin(until, everything, now);
    cx.core.effects.push(Effect::PauseChanged);
    Ok(Part::done())
}

/// The time `timeout` milliseconds from now; 0 is a time long past.
fn deadline(timeout: &[u8], now: UnixMillis) -> Result<UnixMillis, CommandError> {
    let timeout_ms =
        parse_i64(timeout).ok_or(CommandError::text_static("ERR timeout is not an integer or out of range"))?;
    match timeout_ms {
        ..0 => Err(CommandError::text_static("ERR timeout is negative")),
        0 => Ok(UnixMillis(0)),
        _ => timeout_ms
            .checked_add(now.get())
            .map(UnixMillis)
            .ok_or(CommandError::text_static("ERR timeout is out of range")),
    }
}

fn unpause_part(cx: &mut Context<'_>, _: &Args<'_>) -> Result<Part, CommandError> {
    cx.core.pause.end();
    cx.core.effects.push(Effect::PauseChanged);
    Ok(Part::done())
}

fn answer_ok(cx: &mut Context<'_>, _: &Args<'_>, _: Vec<Part>) -> CommandResult {
    cx.reply.ok();
    Ok(())
}

/// A known sub-command with arguments that no form of it has.
fn malformed(args: &Args<'_>) -> CommandError {
    let given = &args[1][..args[1].len().min(128)];
    let given = String::from_utf8_lossy(given);
    CommandError::formatted(format!(
        "ERR unknown subcommand or wrong number of arguments for '{given}'. Try CLIENT HELP."
    ))
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.help(
        "CLIENT",
        &[
            "GETNAME",
            "    Answer the connection's name.",
            "ID",
            "    Answer the connection's number.",
            "INFO",
            "    Answer the connection's line of LIST.",
            "KILL <ip:port>",
            "    Close the connection from <ip:port>.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Close the connections that all options match:",
            "    * ID <client-id>",
            "    * ADDR (<ip:port>|<unixsocket>:0)",
            "    * LADDR (<ip:port>|<unixsocket>:0)",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "    * USER <username>",
            "    * SKIPME (YES|NO): spare this connection (default: yes).",
            "LIST [options ...]",
            "    Answer a line for each connection. Options:",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "    * ID <client-id> [<client-id> ...]",
            "NO-EVICT (ON|OFF)",
            "    Spare the connection when client memory runs short.",
            "NO-TOUCH (ON|OFF)",
            "    Leave the access times of keys alone.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Let clients wait for <timeout> milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Switch replies to this connection off and on.",
            "SETINFO <option> <value>",
            "    Describe the client. Options are:",
            "    * LIB-NAME: the name of its library.",
            "    * LIB-VER: the version of its library.",
            "SETNAME <name>",
            "    Name the connection.",
            "UNPAUSE",
            "    End a pause.",
        ],
    );
    Ok(())
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

    fn kills(line: &str, caller: u64) -> Result<bool, String> {
        let args = args(line);
        let filter = Filter::parse(&args.as_args()).map_err(|error| error.text().into_owned())?;
        Ok(filter.matches(&client(7), caller))
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

    #[test]
    fn kill_matches_by_every_filter_given() {
        for (line, killed) in [
            ("client kill 127.0.0.1:1000", true),
            ("client kill 127.0.0.1:1001", false),
            ("client kill id 7", true),
            ("client kill ID 8", false),
            ("client kill addr 127.0.0.1:1000 laddr 127.0.0.1:6379", true),
            ("client kill addr 127.0.0.1:1000 laddr 127.0.0.1:1", false),
            ("client kill type normal user default", true),
            ("client kill type pubsub", false),
        ] {
            assert_eq!(kills(line, 1), Ok(killed), "{line}");
        }
    }

    #[test]
    fn kill_spares_the_caller_unless_told_or_asked_the_old_way() {
        assert_eq!(kills("client kill id 7", 7), Ok(false));
        assert_eq!(kills("client kill id 7 skipme no", 7), Ok(true));
        assert_eq!(kills("client kill 127.0.0.1:1000", 7), Ok(true));
    }

    #[test]
    fn kill_refuses_what_it_does_not_know() {
        assert_eq!(kills("client kill id 0", 1).unwrap_err(), "ERR client-id should be greater than 0");
        assert_eq!(kills("client kill type x", 1).unwrap_err(), "ERR Unknown client type 'x'");
        assert_eq!(kills("client kill user x", 1).unwrap_err(), "ERR No such user 'x'");
        assert_eq!(kills("client kill id 10 wrong_arg", 1).unwrap_err(), "ERR syntax error");
        assert_eq!(kills("client kill skipme maybe", 1).unwrap_err(), "ERR syntax error");
    }

    #[test]
    fn a_pause_ends_within_the_range_of_time() {
        let now = UnixMillis(1_000);
        assert_eq!(deadline(b"5", now), Ok(UnixMillis(1_005)));
        assert_eq!(deadline(b"0", now), Ok(UnixMillis(0)));
        for (timeout, text) in [
            ("x", "ERR timeout is not an integer or out of range"),
            ("-1", "ERR timeout is negative"),
            ("9223372036854775807", "ERR timeout is out of range"),
        ] {
            assert_eq!(deadline(timeout.as_bytes(), now).unwrap_err().text(), text);
        }
    }
}
