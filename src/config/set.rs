//! CONFIG SET: checks all pairs, then hands out a new snapshot and what changed, or an error and no change.
//!
//! Called by the handler of CONFIG SET. Applying the change, and going back to the old snapshot if that fails, is the
//! runtime's, which answers with [`SetError::failed`] then.

use super::{Config, Directive, Flags, Origin, lookup};

/// What CONFIG SET must know about its caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requester {
    /// Connected over loopback or a Unix socket.
    pub local: bool,
    /// The data set is being loaded.
    pub loading: bool,
}

/// An accepted CONFIG SET.
#[derive(Clone, Debug)]
pub struct Change {
    /// The snapshot that replaces the one that was asked.
    pub config: Config,
    /// The directives to apply, by their own names, each once, in the order of the command: those whose value differs,
    /// and those that name a file which may have changed.
    pub changed: Vec<&'static str>,
}

/// Why CONFIG SET changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// The directive cannot be set while the data set loads.
    Loading,
    /// No such directive; the name as the client wrote it.
    Unknown(Vec<u8>),
    /// The directive, as the client wrote it or as the table does, and the reason.
    Failed { name: Vec<u8>, reason: String },
}

impl SetError {
    /// The error of a change that was right but could not be applied, as when a port is taken.
    pub fn failed(name: &str, reason: &str) -> SetError {
        SetError::Failed { name: name.as_bytes().to_vec(), reason: reason.to_owned() }
    }

    /// The error line without the leading `-` and the line end.
    pub fn reply(&self) -> Vec<u8> {
        let parts: [&[u8]; 4] = match self {
            SetError::Loading => [b"LOADING Redis is loading the dataset in memory", b"", b"", b""],
            SetError::Unknown(name) => {
                [b"ERR Unknown option or number of arguments for CONFIG SET - '", name, b"'", b""]
            }
            SetError::Failed { name, reason } => {
                [b"ERR CONFIG SET failed (possibly related to argument '", name, b"') - ", reason.as_bytes()]
            }
        };
        let line = parts.concat();
        line.into_iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }).collect()
    }
}

impl Config {
    /// CONFIG SET: all pairs or none. The first pair that is wrong decides the error: names and rights are looked at
    /// before any value is.
    ///
    /// The two names of one directive count as two parameters, as in Redis; the later one wins.
    pub fn set(&self, pairs: &[(&[u8], &[u8])], requester: Requester) -> Result<Change, SetError> {
        let mut settings: Vec<(&Directive, &'static str, &[u8])> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let (directive, matched) = lookup(name).ok_or_else(|| SetError::Unknown(name.to_vec()))?;
            self.check_right(directive, name, requester)?;
            if settings.iter().any(|(_, earlier, _)| *earlier == matched) {
                return Err(SetError::Failed { name: name.to_vec(), reason: "duplicate parameter".to_owned() });
            }
            settings.push((directive, matched, value));
        }
        let mut config = self.clone();
        for (directive, matched, value) in &settings {
            let parsed = (directive.parse)(&mut config, &words_of(directive, value), Origin::Command);
            parsed.map_err(|reason| SetError::failed(matched, &reason))?;
        }
        config.keep_hz_in_range();
        // Redis's smallest backlog; it raises a smaller one in silence.
        if settings.iter().any(|(one, ..)| one.name == "repl-backlog-size") {
            config.repl_backlog_size = config.repl_backlog_size.max(16 << 10);
        }
        let mut changed = Vec::new();
        for (directive, _, _) in settings {
            let moved = directive.flags.has(Flags::VOLATILE) || (directive.differs)(self, &config);
            if moved && !changed.contains(&directive.name) {
                changed.push(directive.name);
            }
        }
        Ok(Change { config, changed })
    }

    fn check_right(&self, directive: &Directive, name: &[u8], requester: Requester) -> Result<(), SetError> {
        let refuse = |reason: &str| Err(SetError::Failed { name: name.to_vec(), reason: reason.to_owned() });
        if directive.flags.has(Flags::IMMUTABLE) {
            return refuse("can't set immutable config");
        }
        if directive.flags.has(Flags::PROTECTED) && !self.enable_protected_configs.allows(requester.local) {
            return refuse("can't set protected config");
        }
        if directive.flags.has(Flags::DENY_LOADING) && requester.loading {
            return Err(SetError::Loading);
        }
        Ok(())
    }
}

/// The words of a value: split at each single blank if the directive takes several.
fn words_of(directive: &Directive, value: &[u8]) -> Vec<Vec<u8>> {
    if !directive.flags.has(Flags::MULTI) {
        return vec![value.to_vec()];
    }
    if value.is_empty() {
        return Vec::new();
    }
    value.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ProtectedAction;
    use super::*;

    fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<Change, String> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        config.set(&pairs, Requester::default()).map_err(|error| String::from_utf8_lossy(&error.reply()).into_owned())
    }

    #[test]
    fn a_change_is_a_new_snapshot_with_the_names_of_what_moved() {
        let config = Config::default();
        let pairs = [("MaxMemory", "1mb"), ("timeout", "0"), ("slave-priority", "7"), ("tls-cert-file", "")];
        let change = set(&config, &pairs).unwrap();
        assert_eq!((config.maxmemory, change.config.maxmemory, change.config.replica_priority), (0, 1 << 20, 7));
        assert_eq!(change.changed, ["maxmemory", "replica-priority", "tls-cert-file"]);
    }

    #[test]
    fn errors_have_the_texts_of_redis() {
        let failed = |name: &str, reason: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
        };
        let table: &[(&[(&str, &str)], String)] = &[
            (&[("x", "1")], "ERR Unknown option or number of arguments for CONFIG SET - 'x'".to_owned()),
            (
                &[("port", "a"), ("a\r\nb", "1")],
                "ERR Unknown option or number of arguments for CONFIG SET - 'a  b'".to_owned(),
            ),
            (&[("Daemonize", "yes")], failed("Daemonize", "can't set immutable config")),
            (&[("dir", "/")], failed("dir", "can't set protected config")),
            (&[("port", "1"), ("PORT", "2")], failed("PORT", "duplicate parameter")),
            (&[("PORT", "65536")], failed("port", "argument must be between 0 and 65535 inclusive")),
            (&[("appendonly", "maybe")], failed("appendonly", "argument must be 'yes' or 'no'")),
            (&[("maxmemory", "10x")], failed("maxmemory", "argument must be a memory value")),
            (&[("maxmemory-clients", "-5")], failed("maxmemory-clients", "argument must be a memory or percent value")),
            (&[("save", "1 2 3")], failed("save", "Invalid save parameters")),
            (&[("oom-score-adj-values", "1 2")], failed("oom-score-adj-values", "wrong number of arguments")),
            (&[("slave-priority", "x")], failed("slave-priority", "argument couldn't be parsed into an integer")),
        ];
        for (pairs, expected) in table {
            assert_eq!(&set(&Config::default(), pairs).unwrap_err(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn save_and_bind_may_be_emptied() {
        let config = set(&Config::default(), &[("save", ""), ("bind", "")]).unwrap().config;
        assert!(config.save.is_empty() && config.bind.is_empty());
    }

    #[test]
    fn what_redis_bends_is_bent_the_same_way() {
        let config = set(&Config::default(), &[("hz", "0"), ("repl-backlog-size", "1")]).unwrap().config;
        assert_eq!((config.hz, config.repl_backlog_size), (1, 16384));
    }

    #[test]
    fn protected_directives_follow_enable_protected_configs() {
        let mut config = Config::default();
        let pairs: [(&[u8], &[u8]); 1] = [(b"dbfilename", b"x.rdb")];
        for (allowed, local, accepted) in [
            (ProtectedAction::Yes, false, true),
            (ProtectedAction::Local, false, false),
            (ProtectedAction::Local, true, true),
            (ProtectedAction::No, true, false),
        ] {
            config.enable_protected_configs = allowed;
            let result = config.set(&pairs, Requester { local, loading: false });
            assert_eq!(result.is_ok(), accepted, "{allowed:?} {local}");
        }
    }

    #[test]
    fn loading_refuses_only_what_it_must() {
        let loading = Requester { local: false, loading: true };
        let appendonly = Config::default().set(&[(b"appendonly", b"yes")], loading);
        assert_eq!(appendonly.unwrap_err(), SetError::Loading);
        assert!(Config::default().set(&[(b"maxclients", b"5")], loading).is_ok());
    }
}
