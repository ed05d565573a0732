//! CLIENT: what a client says of itself, and what is known of all of them.
//!
//! A client lies on the core of its connection, so LIST, KILL and PAUSE ask every core. The data are in `client`; the rows are
//! here, `settings` is about the client itself, `listing`, `killing` and `pausing` are what their names say.

mod killing;
mod listing;
mod pausing;
mod settings;

use super::context::Context;
use super::spec::{Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::resp::Args;
use killing::{kill_merge, kill_part};
use listing::{list_merge, list_part};
use pausing::{answer_ok, pause_part, unpause_part};
use settings::{get_name, id, info, no_evict, no_touch, reply, set_info, set_name};

const ANY_TIME: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
const ADMIN: Flags = ANY_TIME.and(Flags::ADMIN);
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
