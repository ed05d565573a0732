//! MIGRATE: keys that go to another node, one after the other acknowledged there before it is removed here.
//!
//! In Redis this is one step in which the node does nothing else. Here the core goes on serving, and nobody can tell but by that:
//!
//! ```text
//! MIGRATE           the handler reads the options, looks for the keys and leaves a `Job`; nothing is answered yet
//!   -> the keys     are *on their way* from now on, by their names, on the core that owns them (`Migrations`): reads go on; a request that
//!                   writes one of them waits on this core, and so does everything behind it of the same client that comes to
//!                   this core; all of them run, in their order, when the job has ended
//!   -> a connection is taken from those that are kept for 10 s, or made (`runtime/migrate`, `runtime/requests/migrate`)
//!   -> RESTORE      for each key in turn, or RESTORE-ASKING in cluster mode, made in slices (`dump`); a large value is complete
//!                   before its first byte leaves, since its length stands in front
//!   -> the replies  are read as they come (`dialogue`)
//!   -> the end      (`end`): what was acknowledged is removed, in one unit of the journal (DEL), which replicas and files
//!                   get; then the client is answered, and those who have waited run
//! ```
//!
//! What comes between:
//! - *A key expires, is evicted or flushed, its slot goes to another node*: it is gone here, and nobody can make it anew before the end. If its
//!   RESTORE was under way it is there now, as if it had gone right after MIGRATE; otherwise it is passed over, as one that was not there.
//! - *MULTI*: the gate refuses MIGRATE in a transaction, which must not wait. A transaction that writes such a key waits, and runs whole.
//! - *Another MIGRATE of the key* waits like any write, and then finds nothing.
//! - *Who waits for a key* (BLPOP) and would be served with a request that writes one on its way waits on, and is looked at again at the end.
//! - *The client goes*: the job goes on, as in Redis, which would not have noticed before its end.
//! - *The connection breaks, or nothing moves for the time limit*: what was acknowledged is removed, the rest stays, `IOERR`. The target may have
//!   a key of which its answer was lost: so it is in Redis. Before the first answer it is tried once more, on a new connection.
//! - *Writes are held* (CLIENT PAUSE, a failover ordered by hand, a shutdown): the end waits for that, because it writes.
//! - *The node becomes a replica, or loads data* (DEBUG RELOAD): the job ends as if the connection had broken; those who have waited are
//!   told where the slot is by then.
//! - *The node ends*: as if it had been killed. The key is on both sides then, and `slotcore cluster fix` puts that right.
//!
//! The other side: RESTORE of a large value is a job of this core, too (`restore`). Its key is on its way in the same sense until the value
//! is made, in slices, and put in its place at once.
//!
//! Called by the gate's way to handlers, by `blocking::run` (which admits the job) and by the runtime. Knows no socket.

mod dialogue;
mod dump;
mod job;
mod restore;

pub use dialogue::{Dialogue, Outcome};
pub use dump::Dumper;
pub use job::{Job, Migrations, Order, end};
pub use restore::{Restore, is_sliced, may_be_sliced};

use super::arguments::{integer, is_word};
use super::context::Context;
use super::error::CommandError;
use super::spec::{Access, Arity, CommandResult, CommandSpec, Flags, Group, Keys, Run};
use crate::resp::Args;
use job::Login;

/// The time limit in place of one that is none.
const TIMEOUT_MS_DEFAULT: u64 = 1000;
/// The options begin here.
const OPTIONS_FROM: usize = 6;

/// What stands behind the time limit, and where the keys are among the arguments.
#[derive(Default)]
struct Options {
    copy: bool,
    replace: bool,
    login: Option<Login>,
    first_key: usize,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options { first_key: 3, ..Options::default() };
        let mut at = OPTIONS_FROM;
        let word = |at: usize| args.get(at).map(<[u8]>::to_vec).ok_or(CommandError::Syntax);
        while let Some(option) = args.get(at) {
            if is_word(option, "COPY") {
                options.copy = true;
            } else if is_word(option, "REPLACE") {
                options.replace = true;
            } else if is_word(option, "AUTH") {
                // A user that an AUTH2 before it has named stays, as in Redis.
                let user = options.login.take().and_then(|login| login.user);
                options.login = Some(Login { user, password: word(at + 1)? });
                at += 1;
            } else if is_word(option, "AUTH2") {
                options.login = Some(Login { user: Some(word(at + 1)?), password: word(at + 2)? });
                at += 2;
            } else if is_word(option, "KEYS") {
                if !args[3].is_empty() {
                    return Err(CommandError::text_static(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                options.first_key = at + 1;
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The arguments that are keys.
    fn keys<'a>(&self, args: &Args<'a>) -> impl Iterator<Item = &'a [u8]> {
        let count = if self.first_key > OPTIONS_FROM { usize::MAX } else { 1 };
        args.iter().skip(self.first_key).take(count)
    }
}

/// MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
/// [KEYS key [key ...]]: `NOKEY` when none of the keys is there.
fn migrate(cx: &mut Context<'_>, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args)?;
    let timeout_ms = integer(&args[5])?;
    let target_db = integer(&args[4])?;
    let timeout_ms = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0).unwrap_or(TIMEOUT_MS_DEFAULT);
    let db = cx.db();
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    for name in options.keys(args) {
        let key = cx.key(name);
        if cx.core.keyspace.read(db, key).is_some() {
            keys.push(name.into());
        }
    }
    if keys.is_empty() {
        cx.reply.simple("NOKEY");
        return Ok(());
    }
    if cx.caller.must_not_wait {
        return Err(CommandError::text_static("ERR Command not allowed inside a transaction"));
    }
    let order = Order {
        host: args[1].to_vec(),
        port: args[2].to_vec(),
        db: target_db,
        timeout_ms,
        copies: options.copy,
        replaces: options.replace,
        login: options.login,
    };
    cx.core.migrations.begin(order, db, keys);
    Ok(())
}

/// The keys: the third argument, or those behind KEYS; none where both are given, which the handler refuses.
fn find_keys(args: &Args<'_>, found: &mut Vec<usize>) -> Result<(), CommandError> {
    let mut at = OPTIONS_FROM;
    while let Some(option) = args.get(at) {
        if is_word(option, "KEYS") {
            if args[3].is_empty() {
                found.extend(at + 1..args.len());
            }
            return Ok(());
        }
        at += match () {
            () if is_word(option, "AUTH") => 2,
            () if is_word(option, "AUTH2") => 3,
            () => 1,
        };
    }
    found.push(3);
    Ok(())
}

pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "migrate",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.and(Flags::DANGEROUS).and(Flags::LATE),
    keys: Keys::AtOrBehind {
        at: 3,
        word: "KEYS",
        from: -2,
        finder: find_keys,
        access: Access::TAKE,
        behind: Access::TAKE_INCOMPLETE,
    },
    group: Group::Generic,
    since: "2.6.0",
    summary: "Moves keys to another node.",
    complexity: "O(N) in the size of the values, here and at the target",
    syntax: "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 <username password>] [KEYS key [key ...]]",
    run: Run::OnOwner(migrate),
}];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ArgsBuf;

    fn args(line: &str) -> ArgsBuf {
        line.split(' ').map(|word| if word == "''" { "" } else { word }).collect()
    }

    #[test]
    fn keys_are_found_where_they_are_served() {
        for (line, indexes) in [
            ("migrate h 1 k 0 9", &[3][..]),
            ("migrate h 1 '' 0 9 COPY keys a b", &[8, 9]),
            ("migrate h 1 '' 0 9 AUTH keys KEYS a", &[9]),
            ("migrate h 1 '' 0 9 AUTH2 keys keys KEYS a keys", &[10, 11]),
            ("migrate h 1 '' 0 9 KEYS", &[]),
            ("migrate h 1 k 0 9 KEYS a", &[]),
            ("migrate h 1 k 0 9 AUTH", &[3]),
            ("migrate h 1 k 0 9 NONSENSE KEYS", &[]),
        ] {
            let mut found = Vec::new();
            assert_eq!(find_keys(&args(line).as_args(), &mut found), Ok(()));
            assert_eq!(found, indexes, "{line}");
        }
    }

    #[test]
    fn options_are_read_in_any_order() {
        let read = |line: &str| Options::parse(&args(line).as_args());
        let options = read("migrate h 1 '' 0 9 replace auth2 u p COPY keys a").unwrap();
        assert!(options.copy && options.replace && options.first_key == 12);
        assert_eq!(options.login, Some(Login { user: Some(b"u".to_vec()), password: b"p".to_vec() }));
        let both = read("migrate h 1 k 0 9 auth2 u p auth q").unwrap();
        assert_eq!(both.login, Some(Login { user: Some(b"u".to_vec()), password: b"q".to_vec() }));
        assert_eq!(both.first_key, 3);
        for line in ["migrate h 1 k 0 9 auth", "migrate h 1 k 0 9 auth2 u", "migrate h 1 k 0 9 x"] {
            assert_eq!(read(line).err(), Some(CommandError::Syntax), "{line}");
        }
        assert!(read("migrate h 1 k 0 9 keys a").err().unwrap().text().starts_with("ERR When using MIGRATE KEYS"));
    }
}
