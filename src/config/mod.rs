//! Configuration: the table of directives and everything that reads or writes one.
//!
//! Owns the settings of the node as one value, [`Config`], plain data that the runtime clones for each core; the table
//! they follow from (`table.rs`); reading them from a file, stdin, the environment and the command line (`file.rs`,
//! `environment.rs`, `args.rs`); CONFIG GET here, CONFIG SET (`set.rs`) and CONFIG REWRITE (`rewrite.rs`). Names, defaults,
//! ranges, notations and error texts are those of Redis 7.2, and so are the directives, but for a few of our own.
//!
//! Called by `main` (load), by the handlers of CONFIG, and read everywhere. It never applies a setting: it opens no
//! port, enters no folder and writes no file; the runtime does, told by [`Change::changed`] what moved.

mod args;
mod choice;
mod discovery;
mod environment;
mod file;
mod include;
mod line;
mod notify;
mod number;
mod rewrite;
mod set;
mod table;
mod value;
mod words;

use crate::base::glob;

pub use args::Arguments;
pub use choice::{
    AclPubsubDefault, AppendFsync, Cores, DisklessLoad, EndpointType, LogLevel, MaxmemoryPolicy, OomScoreAdj,
    PropagationErrorBehavior, ProtectedAction, SanitizeDumpPayload, ShutdownOptions, Supervised, SyslogFacility,
    TlsAuthClients,
};
pub use discovery::Discovery;
pub use environment::{Environment, PASSWORD_FILE_VARIABLE, password_in};
pub use file::{ConfigError, FileRow, Loaded, Place, Sources, load};
pub use line::split_words;
pub use notify::NotifyFlags;
pub use number::bytes_of;
pub use set::{Change, Requester, SetError};
pub use table::{Config, DIRECTIVES};
pub use value::{BytesOrPercent, Line, Origin, Rewrite};
pub use words::{OutputLimit, OutputLimits, Primary, SavePoint};

/// Reads words into a field of the configuration.
pub type ParseInto = fn(&mut Config, &[Vec<u8>], Origin) -> Result<bool, String>;

/// One row of the table.
pub struct Directive {
    /// The name that CONFIG REWRITE writes.
    pub name: &'static str,
    /// Other names that are as good, most of them older.
    pub aliases: &'static [&'static str],
    pub flags: Flags,
    pub applies: Applies,
    /// Reads the words after the name into the field; says whether the value changed. The error is the reason.
    pub parse: ParseInto,
    /// The value as CONFIG GET shows it.
    pub format: fn(&Config) -> Vec<u8>,
    /// The lines of CONFIG REWRITE under a name, given the defaults.
    pub rewrite: fn(&Config, &str, &Config) -> Rewrite,
    /// Whether two snapshots have different values.
    pub differs: fn(&Config, &Config) -> bool,
}

/// Whether setting a directive does anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// It does.
    Now,
    /// It is kept and shown, and will do something once this exists.
    Later(&'static str),
    /// It is kept and shown; nothing here corresponds to it, for this reason.
    Never(&'static str),
}

/// What CONFIG SET, GET and the file reader must know of a directive besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    pub const NONE: Flags = Flags(0);
    /// Only set at start.
    pub const IMMUTABLE: Flags = Flags(1 << 0);
    /// The value is a secret: kept out of the slow log, MONITOR and the log.
    pub const SENSITIVE: Flags = Flags(1 << 1);
    /// Of interest in a crash report.
    pub const DEBUG: Flags = Flags(1 << 2);
    /// Takes several words.
    pub const MULTI: Flags = Flags(1 << 3);
    /// CONFIG GET shows it only by its exact name.
    pub const HIDDEN: Flags = Flags(1 << 4);
    /// CONFIG SET is subject to `enable-protected-configs`.
    pub const PROTECTED: Flags = Flags(1 << 5);
    /// CONFIG SET is refused while the data set loads.
    pub const DENY_LOADING: Flags = Flags(1 << 6);
    /// Applied even if the value is the same: it names a file that may have changed.
    pub const VOLATILE: Flags = Flags(1 << 7);

    /// These flags and those.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Directive {
    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether the value is a secret.
    pub fn is_sensitive(&self) -> bool {
        self.flags.has(Flags::SENSITIVE)
    }
}

/// Names that a redis-server 7.2 does not have, each with its reason. CONFIG GET shows them by their exact names: what
/// tools read with a pattern and set again is what Redis has.
pub const DIFFERENCES: &[(&str, &str)] = &[
    ("cores", "ours: the number of threads"),
    ("core-ports", "ours: a port for each core"),
    ("core-port-base", "ours: where those ports begin"),
    ("cluster-discovery", "ours: where a node finds the others by itself"),
    ("cluster-discovery-replicas", "ours: how many replicas a cluster that forms itself has for each primary"),
    ("slot-migration-max-failover-repl-bytes", "of Valkey 9, as CLUSTER MIGRATESLOTS is"),
    ("cluster-slot-stats-enabled", "of Valkey 8, as CLUSTER SLOT-STATS is"),
    ("cluster-slot-migration-log-max-len", "of Valkey 9, as CLUSTER MIGRATESLOTS is"),
    ("slots-rebalance", "ours: whether slots change their core by themselves"),
    ("server-cpulist", "a second name for server_cpulist, spelled like all others"),
];

/// The row of a name in any letter case, and the name of the table that matched: the directive's or an alias.
pub fn lookup(name: &[u8]) -> Option<(&'static Directive, &'static str)> {
    DIRECTIVES.iter().find_map(|directive| {
        let matched = directive.names().find(|one| one.as_bytes().eq_ignore_ascii_case(name))?;
        Some((directive, matched))
    })
}

impl Config {
    /// CONFIG GET: the names that any of the patterns matches, with their values, in the order of the table.
    ///
    /// A pattern without `*`, `?` and `[` is a name and comes back as the client wrote it; hidden directives are
    /// found only so, and so are names of our own. Nothing comes twice.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        for directive in DIRECTIVES {
            for name in directive.names() {
                let matched = patterns.iter().find_map(|pattern| asked_as(pattern, directive, name));
                if let Some(shown) = matched {
                    found.push((shown, (directive.format)(self)));
                }
            }
        }
        found
    }

    /// The directives that are set but do nothing (yet), each once, with the reason: for one line each in the log.
    pub fn not_in_effect(&self) -> Vec<(&'static str, Applies)> {
        let default = Config::default();
        let idle = |directive: &&Directive| directive.applies != Applies::Now && (directive.differs)(self, &default);
        let mut list: Vec<_> = DIRECTIVES.iter().filter(idle).map(|one| (one.name, one.applies)).collect();
        for (name, applies) in [
            ("user", Applies::Later("ACL users")),
            ("rename-command", Applies::Later("renamed commands")),
            ("loadmodule", Applies::Never("there are no modules")),
            ("settings of modules", Applies::Never("there are no modules")),
        ] {
            if self.file_rows.iter().any(|row| row.kind() == name) {
                list.push((name, applies));
            }
        }
        list
    }
}

/// The name to show if the pattern asks for this one.
fn asked_as(pattern: &[u8], directive: &Directive, name: &'static str) -> Option<Vec<u8>> {
    let is_pattern = pattern.iter().any(|byte| matches!(byte, b'[' | b'*' | b'?'));
    if !is_pattern {
        return pattern.eq_ignore_ascii_case(name.as_bytes()).then(|| pattern.to_vec());
    }
    let is_ours = DIFFERENCES.iter().any(|(ours, _)| *ours == name);
    let is_hidden = directive.flags.has(Flags::HIDDEN) || is_ours;
    let shown = !is_hidden && glob::matches(pattern, name.as_bytes(), true);
    shown.then(|| name.as_bytes().to_vec())
}

impl std::fmt::Debug for Config {
    /// Only that it is one: the values hold passwords.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Config").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(patterns: &[&str]) -> Vec<(String, String)> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let shown = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Config::default().get(&patterns).into_iter().map(|(name, value)| (shown(name), shown(value))).collect()
    }

    fn names(patterns: &[&str]) -> Vec<String> {
        get(patterns).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn every_default_is_read_back_from_what_is_shown() {
        let default = Config::default();
        for directive in DIRECTIVES {
            let shown = (directive.format)(&default);
            let words = match () {
                _ if !directive.flags.has(Flags::MULTI) => vec![shown.clone()],
                _ if shown.is_empty() => Vec::new(),
                _ => shown.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect(),
            };
            let mut again = default.clone();
            let changed = (directive.parse)(&mut again, &words, Origin::Command);
            // There is no word for "follows nobody" that CONFIG GET would show.
            if directive.name != "replicaof" {
                assert_eq!(changed, Ok(false), "{}", directive.name);
            }
            assert!(again == default, "{}", directive.name);
        }
    }

    #[test]
    fn every_line_that_is_rewritten_is_read_back() {
        let default = Config::default();
        for directive in DIRECTIVES {
            let Rewrite::Lines(lines) = (directive.rewrite)(&default, directive.name, &default) else {
                continue;
            };
            let text = lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join(&b'\n');
            let read = load(Sources { stdin: Some(&text), ..Sources::default() });
            assert!(read.is_ok_and(|read| read.config == default), "{}", directive.name);
        }
    }

    #[test]
    fn names_and_aliases_are_unique_and_in_lower_case() {
        let mut seen = hashbrown::HashSet::new();
        for name in DIRECTIVES.iter().flat_map(Directive::names) {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-' | b'_')), "{name}");
        }
        // 195 names that redis-server 7.2 shows, 7 hidden ones, and ours.
        assert_eq!(seen.len(), 195 + 7 + DIFFERENCES.len());
    }

    #[test]
    fn config_get_shows_a_name_as_asked_and_nothing_twice() {
        assert_eq!(get(&["MaxMemory", "maxmemory", "max[m]emory"]), [("MaxMemory".to_owned(), "0".to_owned())]);
        assert_eq!(names(&["*-max-ziplist-value"]), ["hash-max-ziplist-value", "zset-max-ziplist-value"]);
        assert_eq!(names(&["slaveof", "replicao?"]), ["replicaof", "slaveof"]);
        assert_eq!(names(&["nothing", "no*thing"]), Vec::<String>::new());
    }

    #[test]
    fn hidden_directives_are_found_by_their_exact_name_alone() {
        assert_eq!(names(&["watchdog-period"]), ["watchdog-period"]);
        assert!(!names(&["*"]).contains(&"watchdog-period".to_owned()));
        assert_eq!(names(&["*"]).len(), 195);
        assert_eq!(names(&["cores", "server-cpulist"]), ["server-cpulist", "cores"]);
    }

    #[test]
    fn values_are_shown_as_redis_shows_them() {
        for (name, value) in [
            ("save", "3600 1 300 100 60 10000"),
            ("bind", "* -::*"),
            ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
            ("latency-tracking-info-percentiles", "50 99 99.9"),
            ("oom-score-adj-values", "0 200 800"),
            ("proto-max-bulk-len", "536870912"),
            ("appendonly", "no"),
            ("unixsocketperm", "0"),
            ("cores", "auto"),
        ] {
            assert_eq!(get(&[name]), [(name.to_owned(), value.to_owned())]);
        }
    }

    #[test]
    fn what_is_not_in_effect_is_listed_once() {
        let text = b"io-threads 4\nio-threads 2\nport 1\nloadmodule a\nloadmodule b\nmaxmemory-samples 5\n";
        let config = load(Sources { stdin: Some(text), ..Sources::default() }).unwrap().config;
        let listed: Vec<_> = config.not_in_effect().into_iter().map(|(name, _)| name).collect();
        assert_eq!(listed, ["io-threads", "loadmodule"]);
        assert_eq!(Config::default().not_in_effect(), []);
    }

    #[test]
    fn the_sample_file_is_read() {
        let text = include_bytes!("../../conf/slotcore.conf");
        let loaded = load(Sources { stdin: Some(text), ..Sources::default() }).unwrap();
        assert_eq!((loaded.config.not_in_effect(), loaded.warnings), (Vec::new(), Vec::new()));
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let config = Config { requirepass: b"secret".to_vec(), ..Config::default() };
        assert!(!format!("{config:?}").contains("secret"));
        assert!(lookup(b"RequirePass").is_some_and(|(directive, _)| directive.is_sensitive()));
    }
}
