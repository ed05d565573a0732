//! Commands about the connection itself: who speaks, which protocol, which database.
//!
//! They run on the connection's core and touch nothing but the client, save RESET of a monitor, which every core must
//! learn of. CLIENT stands in `clients`.

use super::client::{CloseReason, check_name};
use super::context::Context;
use super::core::Effect;
use super::error::CommandError;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::base::number::parse_i64;
use crate::resp::{Args, RespVersion};

/// Works before AUTH and while the node loads, runs a script or has lost its primary; never from a script.
const ALWAYS: Flags =
    Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);
const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);

/// The name under which `requirepass` lets clients in.
pub const DEFAULT_USER: &str = "default";
/// The Redis version whose behaviour this node has.
pub const REDIS_VERSION: &str = "7.2.4";

const CONNECTION: CommandSpec = CommandSpec {
    name: "",
    arity: Arity::AtLeast(1),
    flags: ALWAYS,
    keys: Keys::None,
    group: Group::Connection,
    since: "1.0.0",
    summary: "",
    complexity: "O(1)",
    syntax: "",
    run: Run::OnConnection(ping),
};

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "ping",
        flags: Flags::FAST,
        summary: "Answers PONG, or the message.",
        syntax: "[message]",
        ..CONNECTION
    },
    CommandSpec {
        name: "echo",
        arity: Arity::Exactly(2),
        flags: ANY_TIME,
        summary: "Answers the message.",
        syntax: "message",
        run: Run::OnConnection(echo),
        ..CONNECTION
    },
    CommandSpec {
        name: "select",
        arity: Arity::Exactly(2),
        flags: ANY_TIME,
        summary: "Moves the connection to another database.",
        syntax: "index",
        run: Run::OnConnection(select),
        ..CONNECTION
    },
    CommandSpec {
        name: "auth",
        arity: Arity::AtLeast(2),
        summary: "Proves who the client is.",
        complexity: "O(N) where N is the number of passwords of the user",
        syntax: "[username] password",
        run: Run::OnConnection(auth),
        ..CONNECTION
    },
    CommandSpec {
        name: "hello",
        since: "6.0.0",
        summary: "Chooses the protocol version and describes the server.",
        syntax: "[protover [AUTH username password] [SETNAME clientname]]",
        run: Run::OnConnection(hello),
        ..CONNECTION
    },
    CommandSpec {
        name: "quit",
        summary: "Closes the connection once its replies are sent.",
        run: Run::OnConnection(quit),
        ..CONNECTION
    },
    CommandSpec {
        name: "reset",
        arity: Arity::Exactly(1),
        since: "6.2.0",
        summary: "Puts the connection back into the state of a new one.",
        run: Run::OnConnection(reset),
        ..CONNECTION
    },
];

/// PING [message].
fn ping(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let listens = cx.caller.resp == RespVersion::V2 && cx.client().is_listening();
    match args.len() {
        1 | 2 if listens => {
            // It looks like a message, as everything that such a client reads.
            cx.reply.array(2);
            cx.reply.bulk(b"pong");
            cx.reply.bulk(args.get(1).unwrap_or_default());
        }
        1 => cx.reply.simple("PONG"),
        2 => cx.reply.bulk(&args[1]),
        _ => return Err(CommandError::WrongArity("ping".into())),
    }
    Ok(())
}

/// ECHO message.
fn echo(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    cx.reply.bulk(&args[1]);
    Ok(())
}

/// SELECT index. A cluster has database 0 alone.
fn select(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let index = parse_i64(&args[1]).ok_or(CommandError::NotAnInteger)?;
    let Ok(index) = i32::try_from(index) else {
        let (least, most) = (i32::MIN, i32::MAX);
        return Err(CommandError::formatted(format!(
            "ERR value is out of range, value must between {least} and {most}"
        )));
    };
    if cx.core.config.cluster_enabled && index != 0 {
        return Err(CommandError::text_static("ERR SELECT is not allowed in cluster mode"));
    }
    let index = u32::try_from(index).ok().filter(|index| *index < cx.core.config.databases);
    // Databases are numbered with 16 bits; `databases` beyond that cannot be selected.
    let db = index.and_then(|index| u16::try_from(index).ok()).ok_or(CommandError::InvalidDbIndex)?;
    cx.client().db = db;
    cx.reply.ok();
    Ok(())
}

/// AUTH [username] password.
fn auth(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    match args.len() {
        2 if cx.core.config.requirepass.is_empty() => Err(CommandError::text_static(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        )),
        2 => authenticate(cx, DEFAULT_USER.as_bytes(), &args[1]),
        3 => authenticate(cx, &args[1], &args[2]),
        _ => Err(CommandError::Syntax),
    }?;
    cx.reply.ok();
    Ok(())
}

/// Lets the client in. Who was in before stays in when it fails.
fn authenticate(cx: &mut Context<'_>, user: &[u8], password: &[u8]) -> CommandResult {
    let expected = &cx.core.config.requirepass;
    let known = user == DEFAULT_USER.as_bytes();
    if !known || !expected.is_empty() && !same_secret(expected, password) {
        return Err(CommandError::WrongPass);
    }
    cx.client().authenticated = true;
    Ok(())
}

/// Compares in a time that depends on the lengths alone, so that a guess cannot be improved byte by byte.
fn same_secret(expected: &[u8], given: &[u8]) -> bool {
    let padded = given.iter().chain(std::iter::repeat(&0));
    let difference = expected.iter().zip(padded).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0 && expected.len() == given.len()
}

/// What HELLO's arguments ask for.
struct Greeting<'a> {
    version: Option<RespVersion>,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

/// HELLO [protover [AUTH username password] [SETNAME clientname]]: nothing is changed unless all of it is right.
fn hello(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let greeting = greeting(args)?;
    if let Some((user, password)) = greeting.credentials {
        authenticate(cx, user, password)?;
    }
    let client = cx.client();
    if !client.authenticated {
        return Err(CommandError::text_static(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = greeting.name {
        client.name = name.to_vec();
    }
    if let Some(version) = greeting.version {
        client.resp = version;
        cx.reply.set_version(version);
    }
    describe_server(cx);
    Ok(())
}

fn greeting<'a>(args: &Args<'a>) -> Result<Greeting<'a>, CommandError> {
    let mut greeting = Greeting { version: None, credentials: None, name: None };
    if let Some(version) = args.get(1) {
        greeting.version = Some(match parse_i64(version) {
            Some(2) => RespVersion::V2,
            Some(3) => RespVersion::V3,
            Some(_) => return Err(CommandError::text_static("NOPROTO unsupported protocol version")),
            None => return Err(CommandError::text_static("ERR Protocol version is not an integer or out of range")),
        });
    }
    let mut at = 2;
    while let Some(option) = args.get(at) {
        if let (true, Some(user), Some(password)) =
            (option.eq_ignore_ascii_case(b"auth"), args.get(at + 1), args.get(at + 2))
        {
            greeting.credentials = Some((user, password));
            at += 3;
        } else if let (true, Some(name)) = (option.eq_ignore_ascii_case(b"setname"), args.get(at + 1)) {
            check_name(name, b"Client names")?;
            greeting.name = Some(name);
            at += 2;
        } else {
            return Err(CommandError::quoting("ERR Syntax error in HELLO option '", option, "'"));
        }
    }
    Ok(greeting)
}

/// HELLO's answer.
fn describe_server(cx: &mut Context<'_>) {
    let id = cx.caller.client.id as i64;
    let mode = if cx.core.config.cluster_enabled { "cluster" } else { "standalone" };
    let proto = if cx.reply.version() == RespVersion::V3 { 3 } else { 2 };
    let reply = &mut cx.reply;
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (field, value) in [("proto", proto), ("id", id)] {
        reply.bulk(field.as_bytes());
        reply.integer(value);
    }
    for (field, value) in [("mode", mode), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

/// QUIT.
fn quit(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    cx.reply.ok();
    let index = cx.caller.client.index;
    cx.core.effects.push(Effect::Close { index, reason: CloseReason::AfterReply });
    Ok(())
}

/// RESET: also out of MONITOR. The library's name stays, as it still describes what is at the other end.
fn reset(cx: &mut Context<'_>, _: &Args<'_>) -> CommandResult {
    let open = cx.core.config.requirepass.is_empty();
    let monitored = cx.client().monitor;
    if std::mem::take(&mut cx.client().has_footprint) {
        let client = cx.caller.client;
        cx.core.effects.push(Effect::Left(client));
    }
    cx.client().reset(open);
    if monitored {
        let client = cx.caller.client;
        cx.core.effects.push(Effect::MonitorLeft(client));
    }
    cx.reply.set_version(RespVersion::V2);
    cx.reply.simple("RESET");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn read(line: &str) -> Result<(), String> {
        let args = ArgsBuf::from_iter(line.split(' '));
        greeting(&args.as_args()).map(|_| ()).map_err(|error| error.text().into_owned())
    }

    #[test]
    fn hello_names_what_it_does_not_understand() {
        assert_eq!(read("hello"), Ok(()));
        assert_eq!(read("hello 3 auth a b setname c"), Ok(()));
        assert_eq!(read("hello 4").unwrap_err(), "NOPROTO unsupported protocol version");
        assert_eq!(read("hello x").unwrap_err(), "ERR Protocol version is not an integer or out of range");
        assert_eq!(read("hello 3 auth a").unwrap_err(), "ERR Syntax error in HELLO option 'auth'");
        assert_eq!(read("hello 3 setname").unwrap_err(), "ERR Syntax error in HELLO option 'setname'");
        let refused = "ERR Client names cannot contain spaces, newlines or special characters.";
        assert_eq!(read("hello 3 setname \u{7f}").unwrap_err(), refused);
    }

    #[test]
    fn secrets_are_the_same_only_whole() {
        assert!(same_secret(b"abc", b"abc"));
        for other in [&b"ab"[..], b"abcd", b"abd", b"", b"abc\0"] {
            assert!(!same_secret(b"abc", other), "{other:?}");
        }
        assert!(!same_secret(b"a\0", b"a"));
    }
}
