//! One row per command: what the gate, COMMAND, ACL categories, key extraction and the tests read.
//!
//! Rows stand at the foot of the family file that implements them. A sub-command is a row of its own, named
//! `container|sub`, behind the container's row.

use std::any::Any;
use std::ops::BitOr;

use super::context::Context;
use super::core::Core;
use super::error::CommandError;
use crate::resp::Args;

/// What a handler says: nothing (its reply is written) or the error that stands in place of a reply.
pub type CommandResult = Result<(), CommandError>;
/// Runs to completion without waiting; time and randomness come from the context.
pub type Handler = fn(&mut Context<'_>, &Args<'_>) -> CommandResult;
/// Core 0's preparations for the shares of the others, if there are others: each meets what it publishes before it does its own.
pub type PrepareHandler = fn(&mut Core, &Args<'_>);
/// One core's share of a command that concerns every core.
pub type PartHandler = fn(&mut Context<'_>, &Args<'_>) -> Result<Part, CommandError>;
/// Writes the reply from all shares, which come in the order of the cores' numbers.
pub type MergeHandler = fn(&mut Context<'_>, &Args<'_>, Vec<Part>) -> CommandResult;
/// Finds the keys of a command whose positions follow from its arguments: indexes into the arguments.
pub type KeyFinder = fn(&Args<'_>, &mut Vec<usize>) -> Result<(), CommandError>;

/// One row of the table of commands.
#[derive(Clone, Copy)]
pub struct CommandSpec {
    /// Lower case; `container|sub` for a sub-command.
    pub name: &'static str,
    pub arity: Arity,
    pub flags: Flags,
    pub keys: Keys,
    pub group: Group,
    /// The Redis version that brought it.
    pub since: &'static str,
    pub summary: &'static str,
    pub complexity: &'static str,
    /// Arguments as the manual writes them: `key [NX | XX] [EX seconds | KEEPTTL] [member ...]`.
    pub syntax: &'static str,
    pub run: Run,
}

/// Where a command runs.
#[derive(Clone, Copy)]
pub enum Run {
    /// Only with a sub-command.
    Container,
    /// With a sub-command, or alone on the core that holds the connection (COMMAND).
    ContainerOr(Handler),
    /// On the core that holds the connection: it touches the client or what every core has.
    OnConnection(Handler),
    /// On the core that owns the slot of its keys.
    OnOwner(Handler),
    /// On core 0, which owns what there is once per node: configuration, cluster state, shutdown.
    OnFirstCore(Handler),
    /// On every core; the connection's core merges the shares.
    OnEveryCore { part: PartHandler, merge: MergeHandler },
    /// On core 0, once every core has done its share: what there is once per node and depends on all cores.
    OnFirstCoreAfterAll { prepare: PrepareHandler, part: PartHandler, merge: MergeHandler },
}

impl Run {
    /// Does it have sub-commands?
    pub const fn is_container(self) -> bool {
        matches!(self, Run::Container | Run::ContainerOr(_))
    }

    /// Does core 0 answer, and may the answer have to wait for other cores?
    pub const fn is_for_first_core(self) -> bool {
        matches!(self, Run::OnFirstCore(_) | Run::OnFirstCoreAfterAll { .. })
    }
}

/// A core's share of an answer: any value that may cross threads.
pub struct Part(Box<dyn Any + Send>);

impl Part {
    pub fn new<T: Any + Send>(value: T) -> Part {
        Part(Box::new(value))
    }

    /// Nothing to merge: the core has done its share.
    pub fn done() -> Part {
        Part::new(())
    }

    /// # Panics
    /// When the part handler of the same row made another type: our own mistake.
    pub fn take<T: Any>(self) -> T {
        *self.0.downcast::<T>().expect("a merge handler takes what its part handler made")
    }
}

/// Number of arguments, the name (and the sub-command's name) included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    Exactly(usize),
    AtLeast(usize),
}

impl Arity {
    pub const fn accepts(self, count: usize) -> bool {
        match self {
            Arity::Exactly(n) => count == n,
            Arity::AtLeast(n) => count >= n,
        }
    }

    /// As COMMAND shows it: negative for "at least".
    pub const fn wire(self) -> i64 {
        match self {
            Arity::Exactly(n) => n as i64,
            Arity::AtLeast(n) => -(n as i64),
        }
    }
}

/// Where the keys stand among the arguments.
#[derive(Clone, Copy)]
pub enum Keys {
    None,
    /// One key at this index.
    At(usize, Access),
    /// From `first` to `last` (negative: counted from the end, -1 is the last argument), every `step`.
    Range {
        first: usize,
        last: isize,
        step: usize,
        access: Access,
    },
    /// Two keys in a row with different access, as RENAME and COPY have.
    Pair(usize, Access, Access),
    /// A key at this index that receives what is made of the keys behind it, all arguments to the last (BITOP, PFMERGE).
    Into(usize, Access),
    /// `numkeys` at this index, then that many keys.
    Counted {
        count_at: usize,
        access: Access,
    },
    /// A number at this index is the slot itself (CLUSTER COUNTKEYSINSLOT).
    SlotNumber(usize),
    /// A key at `into` that receives what is made of the keys that `count_at` counts (ZUNIONSTORE).
    IntoCounted {
        into: usize,
        count_at: usize,
    },
    /// A key at 1 that is read, and the last one that STORE or STOREDIST names from the argument `from` on (GEORADIUS).
    AndStore {
        from: usize,
    },
    /// A key at this index, and others that cannot be told beforehand: of each kind what is done with them (SORT). The finder
    /// finds all.
    AtAndFound {
        at: usize,
        access: Access,
        finder: KeyFinder,
        more: &'static [Access],
    },
    /// The first half of the arguments behind a word, which is looked for from the argument `from` on (XREAD's STREAMS).
    Behind {
        word: &'static str,
        from: usize,
        finder: KeyFinder,
        access: Access,
    },
    /// A key at this index, or in place of it keys behind a word, to the last argument (MIGRATE). The finder finds them; `from` is
    /// where the word is said to be looked for, counted from the end.
    AtOrBehind {
        at: usize,
        word: &'static str,
        from: isize,
        finder: KeyFinder,
        access: Access,
        behind: Access,
    },
    /// Anything else.
    Found {
        finder: KeyFinder,
        access: Access,
    },
}

/// Key specification flags, in Redis's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub &'static [&'static str]);

impl Access {
    pub const READ: Access = Access(&["RO", "access"]);
    pub const LOOK: Access = Access(&["RO"]);
    pub const WRITE: Access = Access(&["OW", "update"]);
    pub const CHANGE: Access = Access(&["RW", "update"]);
    pub const CHANGE_AND_RETURN: Access = Access(&["RW", "access", "update"]);
    pub const INSERT: Access = Access(&["RW", "insert"]);
    /// Read by name, but its representation may change (PFCOUNT, PFDEBUG).
    pub const READ_AND_CHANGE: Access = Access(&["RW", "access"]);
    pub const MERGE: Access = Access(&["RW", "access", "insert"]);
    pub const REMOVE: Access = Access(&["RM", "delete"]);
    pub const REMOVE_SOME: Access = Access(&["RW", "delete"]);
    pub const TAKE: Access = Access(&["RW", "access", "delete"]);
    pub const TAKE_INCOMPLETE: Access = Access(&["RW", "access", "delete", "incomplete"]);
    pub const REPLACE: Access = Access(&["OW", "insert"]);
    pub const UPDATE_VARIABLE: Access = Access(&["RW", "access", "update", "variable_flags"]);
    /// No key at all (CLUSTER KEYSLOT, SPUBLISH's channel).
    pub const NOT_KEY: Access = Access(&["not_key"]);
}

/// Command flags, as in COMMAND's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(pub u32);

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const MODULE: Flags = Flags(1 << 3);
    pub const ADMIN: Flags = Flags(1 << 4);
    pub const PUBSUB: Flags = Flags(1 << 5);
    pub const NOSCRIPT: Flags = Flags(1 << 6);
    pub const BLOCKING: Flags = Flags(1 << 7);
    pub const LOADING: Flags = Flags(1 << 8);
    pub const STALE: Flags = Flags(1 << 9);
    pub const SKIP_MONITOR: Flags = Flags(1 << 10);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 11);
    pub const ASKING: Flags = Flags(1 << 12);
    pub const FAST: Flags = Flags(1 << 13);
    pub const NO_AUTH: Flags = Flags(1 << 14);
    pub const MAY_REPLICATE: Flags = Flags(1 << 15);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 16);
    pub const NO_MULTI: Flags = Flags(1 << 17);
    pub const MOVABLEKEYS: Flags = Flags(1 << 18);
    pub const ALLOW_BUSY: Flags = Flags(1 << 19);
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 20);
    /// DEBUG, MODULE: off unless enabled by configuration.
    pub const PROTECTED: Flags = Flags(1 << 21);
    /// @dangerous without @admin (KEYS, FLUSHALL, SORT).
    pub const DANGEROUS: Flags = Flags(1 << 22);
    /// Time and slow-log ignore what waits on purpose.
    pub const TOUCHES_ARBITRARY_KEYS: Flags = Flags(1 << 23);
    /// @keyspace outside of the generic group (DBSIZE, FLUSHALL, SWAPDB).
    pub const KEYSPACE: Flags = Flags(1 << 24);
    /// @connection without the group (COMMAND, READONLY).
    pub const CONNECTION: Flags = Flags(1 << 25);
    /// @admin and @dangerous without the flag (ROLE, LASTSAVE).
    pub const ADMIN_CATEGORY: Flags = Flags(1 << 26);
    /// @set, @sortedset and @list in place of the group's category (SORT).
    pub const SORTS: Flags = Flags(1 << 27);
    /// Answered when something has come from elsewhere, though clients are not told that it blocks (MIGRATE, SHUTDOWN). Not in
    /// transactions.
    pub const LATE: Flags = Flags(1 << 28);
    /// Answered late if its third argument is large, outside of transactions (RESTORE).
    pub const SLICED: Flags = Flags(1 << 29);

    /// About all keys (DBSIZE, SCAN): on a core's own port, about those of that core.
    pub const BY_CORE: Flags = Flags(1 << 30);

    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Names in the order in which Redis lists them; some flags are nobody's business, as in Redis.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: &[(Flags, &str)] = &[
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::MODULE, "module"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_MONITOR, "skip_monitor"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::ASKING, "asking"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
            (Flags::NO_ASYNC_LOADING, "no_async_loading"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::MOVABLEKEYS, "movablekeys"),
            (Flags::ALLOW_BUSY, "allow_busy"),
        ];
        NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.and(other)
    }
}

/// The documentation group, which also gives the type's ACL category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Sentinel,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

impl Group {
    pub const fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::HyperLogLog => "hyperloglog",
            Group::List => "list",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Sentinel => "sentinel",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
        }
    }

    /// The ACL category that the group implies, if any.
    pub const fn category(self) -> Option<&'static str> {
        match self {
            Group::Bitmap => Some("@bitmap"),
            Group::Connection => Some("@connection"),
            Group::Generic => Some("@keyspace"),
            Group::Geo => Some("@geo"),
            Group::Hash => Some("@hash"),
            Group::HyperLogLog => Some("@hyperloglog"),
            Group::List => Some("@list"),
            Group::Scripting => Some("@scripting"),
            Group::Set => Some("@set"),
            Group::SortedSet => Some("@sortedset"),
            Group::Stream => Some("@stream"),
            Group::String => Some("@string"),
            Group::Transactions => Some("@transaction"),
            // The flag says which of its commands have to do with messages: PUBSUB HELP has not.
            Group::PubSub => None,
            Group::Cluster | Group::Sentinel | Group::Server => None,
        }
    }
}

/// Every ACL category, in the order in which Redis lists them.
pub const CATEGORIES: &[&str] = &[
    "@keyspace",
    "@read",
    "@write",
    "@set",
    "@sortedset",
    "@list",
    "@hash",
    "@string",
    "@bitmap",
    "@hyperloglog",
    "@geo",
    "@stream",
    "@pubsub",
    "@admin",
    "@fast",
    "@slow",
    "@blocking",
    "@dangerous",
    "@connection",
    "@transaction",
    "@scripting",
];

impl CommandSpec {
    /// ACL categories, from the flags and the group as Redis derives them, in its order.
    pub fn categories(&self) -> Vec<&'static str> {
        let mut categories = Vec::new();
        if self.flags.has(Flags::WRITE) {
            categories.push("@write");
        }
        if self.flags.has(Flags::READONLY) && self.group != Group::Scripting {
            categories.push("@read");
        }
        if self.flags.has(Flags::SORTS) {
            categories.extend(["@set", "@sortedset", "@list"]);
        } else if !matches!(self.run, Run::Container) && !self.is_about_connection() {
            categories.extend(self.group.category());
        }
        if self.flags.has(Flags::KEYSPACE) {
            categories.push("@keyspace");
        }
        let is_admin = self.flags.has(Flags::ADMIN) || self.flags.has(Flags::ADMIN_CATEGORY);
        if is_admin {
            categories.push("@admin");
        }
        if is_admin || self.flags.has(Flags::DANGEROUS) {
            categories.push("@dangerous");
        }
        if self.flags.has(Flags::PUBSUB) {
            categories.push("@pubsub");
        }
        if self.flags.has(Flags::CONNECTION) {
            categories.push("@connection");
        }
        categories.push(if self.flags.has(Flags::FAST) { "@fast" } else { "@slow" });
        if self.flags.has(Flags::BLOCKING) {
            categories.push("@blocking");
        }
        categories.sort_unstable_by_key(|category| CATEGORIES.iter().position(|known| known == category));
        categories
    }

    /// WAIT and its like: generic, and about the connection's writes, not about keys.
    fn is_about_connection(&self) -> bool {
        self.group == Group::Generic && self.flags.has(Flags::CONNECTION)
    }

    /// EVAL, FCALL and their like.
    pub fn runs_script(&self) -> bool {
        self.group == Group::Scripting && self.flags.has(Flags::NO_MANDATORY_KEYS)
    }

    /// SUBSCRIBE and its like: what begins or ends listening.
    pub fn is_subscription(&self) -> bool {
        self.group == Group::PubSub && self.flags.has(Flags::NOSCRIPT)
    }

    /// The container's name and the sub-command's, for rows that have one.
    pub fn sub_name(&self) -> Option<(&'static str, &'static str)> {
        self.name.split_once('|')
    }
}
