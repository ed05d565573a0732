//! Configuration: the table of directives and everything that reads or writes one.
//!
//! Owns the settings of the node as one value, [`Config`], plain data that the runtime clones for each core; the table
//! they follow from (`table.rs`); reading them from a file, stdin and the command line (`file.rs`, `args.rs`); CONFIG GET
//! here, CONFIG SET (`set.rs`) and CONFIG REWRITE (`rewrite.rs`). Names, defaults, ranges, notations and error texts
//! are those of Redis 7.2, and so are the directives, but for a few of our own.
//!
//! Called by `main` (load), by the handlers of CONFIG, and read everywhere. It never applies a setting: it opens no
//! port, enters no folder and writes no file; the runtime does, told by [`Change::changed`] what moved.

mod args;
mod choice;
mod file;
mod include;
mod rewrite;
mod set;
mod table;
mod value;
mod words;

pub use args::Arguments;
pub use choice::{
    AclPubsubDefault, AppendFsync, Cores, DisklessLoad, EndpointType, LogLevel, MaxmemoryPolicy, OomScoreAdj,
    PropagationErrorBehavior, ProtectedAction, SanitizeDumpPayload, ShutdownOptions, Supervised, SyslogFacility,
    TlsAuthClients,
};
pub use file::{ConfigError, FileRow, Loaded, Place, Sources, load, split_words};
pub use set::{Change, Requester, SetError};
pub use table::{Config, DIRECTIVES};
pub use value::{BytesOrPercent, Origin, Rewrite};
pub use words::{NotifyFlags, OutputLimit, OutputLimits, Primary, SavePoint};

/// One row of the table.
pub struct Directive {
    /// The name that CONFIG REWRITE writes.
    pub name: &'static str,
    /// Other names that are as good, most of them older.
    pub aliases: &'static [&'static str],
    pub flags: Flags,
    pub applies: Applies,
    /// Reads the words after the name into the field; says whether the value changed. The error is the reason.
    pub parse: fn(&mut Config, &[Vec<u8>], Origin) -> Result<bool, String>,
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
    /// found only so. Nothing comes twice.
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
    let shown = !directive.flags.has(Flags::HIDDEN) && include::matches(pattern, name.as_bytes(), true);
    shown.then(|| name.as_bytes().to_vec())
}

impl std::fmt::Debug for Config {
    /// Only that it is one: the values hold passwords.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Config").finish_non_exhaustive()
    }
}
