//! The directives whose value is one name out of a list, as Rust types.
//!
//! Owns the types and their names, in the order that Redis's error texts list them. The table names them; the rest
//! of the server matches on them. Nothing here reads or applies a directive.

use super::value::{Kind, Named, Origin, must_be_one_of, text};

/// Declares an enum together with the names of its values in the configuration.
macro_rules! choices {
    ($($(#[$doc:meta])* $type:ident { $($(#[$about:meta])* $value:ident = $name:literal $(| $other:literal)*),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$about])* $value),+ }

        impl $type {
            /// The name in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }
        }

        impl Named for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, Self::$value) $(, ($other, Self::$value))*),+];
        }
    )+};
}

choices! {
    /// `maxmemory-policy`: what goes when memory is full.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        NoEviction = "noeviction",
    }
    /// `syslog-facility`.
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
    /// `loglevel`: the least important message that is logged.
    LogLevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
    /// `supervised`: who is told that the server is ready.
    Supervised {
        Upstart = "upstart",
        Systemd = "systemd",
        Auto = "auto",
        No = "no",
    }
    /// `appendfsync`: when the AOF is forced to disk.
    AppendFsync {
        EverySecond = "everysec",
        Always = "always",
        No = "no",
    }
    /// `repl-diskless-load`: how a replica loads a full synchronisation.
    DisklessLoad {
        Disabled = "disabled",
        OnEmptyDb = "on-empty-db",
        SwapDb = "swapdb",
    }
    /// `tls-auth-clients`.
    TlsAuthClients {
        No = "no",
        Yes = "yes",
        Optional = "optional",
    }
    /// `oom-score-adj`.
    OomScoreAdj {
        No = "no",
        /// Added to the score that the process started with; CONFIG GET shows it as yes.
        Relative = "yes" | "relative",
        Absolute = "absolute",
    }
    /// `acl-pubsub-default`: the channels of a new user.
    AclPubsubDefault {
        AllChannels = "allchannels",
        ResetChannels = "resetchannels",
    }
    /// `sanitize-dump-payload`: whose payloads are checked deeply.
    SanitizeDumpPayload {
        No = "no",
        Yes = "yes",
        Clients = "clients",
    }
    /// `enable-protected-configs` and its like: who may use something dangerous.
    ProtectedAction {
        No = "no",
        Yes = "yes",
        /// Connections over loopback or a Unix socket.
        Local = "local",
    }
    /// `cluster-preferred-endpoint-type`: how this node is named to cluster clients.
    EndpointType {
        Ip = "ip",
        Hostname = "hostname",
        UnknownEndpoint = "unknown-endpoint",
    }
    /// `propagation-error-behavior`.
    PropagationErrorBehavior {
        Ignore = "ignore",
        Panic = "panic",
        PanicOnReplicas = "panic-on-replicas",
    }
}

impl ProtectedAction {
    /// Whether a client may; `local` says that it is connected over loopback or a Unix socket.
    pub fn allows(self, local: bool) -> bool {
        match self {
            ProtectedAction::Yes => true,
            ProtectedAction::Local => local,
            ProtectedAction::No => false,
        }
    }
}

/// `cores`: how many threads serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// One for each CPU that the process may run on, at most 128.
    Auto,
    /// This many, 1 to 128.
    Count(u16),
}

/// `auto` or a number from 1 to 128.
pub struct CoresKind;

impl Kind for CoresKind {
    type Value = Cores;

    fn parse(&self, words: &[Vec<u8>], _old: &Cores, _origin: Origin) -> Result<Cores, String> {
        let word = text(super::value::single(words)?)?;
        if word.eq_ignore_ascii_case("auto") {
            return Ok(Cores::Auto);
        }
        match crate::base::number::parse_i64(word.as_bytes()).map(u16::try_from) {
            Some(Ok(count @ 1..=128)) => Ok(Cores::Count(count)),
            _ => Err("argument must be 'auto' or between 1 and 128 inclusive".to_owned()),
        }
    }

    fn format(&self, value: &Cores) -> Vec<u8> {
        match value {
            Cores::Auto => b"auto".to_vec(),
            Cores::Count(count) => count.to_string().into_bytes(),
        }
    }
}

/// `shutdown-on-sigint`, `shutdown-on-sigterm`: the options of the SHUTDOWN that the signal stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// Save even without save points.
    pub save: bool,
    /// Do not save. Never together with `save`.
    pub nosave: bool,
    /// Do not wait for replicas that lag.
    pub now: bool,
    /// Ignore errors that would prevent the exit.
    pub force: bool,
}

/// Any of default, save, nosave, now, force; save and nosave exclude each other.
pub struct ShutdownKind;

impl ShutdownKind {
    const NAMES: [&'static str; 5] = ["default", "save", "nosave", "now", "force"];
}

impl Kind for ShutdownKind {
    type Value = ShutdownOptions;

    fn parse(&self, words: &[Vec<u8>], _old: &ShutdownOptions, _origin: Origin) -> Result<ShutdownOptions, String> {
        let mut options = ShutdownOptions::default();
        if words.is_empty() {
            return Err(must_be_one_of(Self::NAMES.into_iter()));
        }
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => options.save = true,
                b"nosave" => options.nosave = true,
                b"now" => options.now = true,
                b"force" => options.force = true,
                _ => return Err(must_be_one_of(Self::NAMES.into_iter())),
            }
        }
        if options.save && options.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".to_owned());
        }
        Ok(options)
    }

    fn format(&self, value: &ShutdownOptions) -> Vec<u8> {
        let set = [value.save, value.nosave, value.now, value.force];
        let [default, rest @ ..] = Self::NAMES;
        let names: Vec<&str> = rest.into_iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| name).collect();
        if names.is_empty() { default.as_bytes().to_vec() } else { names.join(" ").into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::choice;
    use super::*;

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn names_ignore_case_and_errors_list_them() {
        let parse = |word| choice::<AppendFsync>().parse(&words(&[word]), &AppendFsync::No, Origin::Command);
        assert_eq!(parse("ALWAYS"), Ok(AppendFsync::Always));
        assert_eq!(parse("x").unwrap_err(), "argument(s) must be one of the following: everysec, always, no");
    }

    #[test]
    fn oom_score_adj_relative_is_shown_as_yes() {
        let kind = choice::<OomScoreAdj>();
        let value = kind.parse(&words(&["relative"]), &OomScoreAdj::No, Origin::Command).unwrap();
        assert_eq!(kind.format(&value), b"yes");
        let error = kind.parse(&words(&["x"]), &OomScoreAdj::No, Origin::Command).unwrap_err();
        assert_eq!(error, "argument(s) must be one of the following: no, yes, relative, absolute");
    }

    #[test]
    fn cores_are_auto_or_1_to_128() {
        let parse = |word| CoresKind.parse(&words(&[word]), &Cores::Auto, Origin::Command);
        assert_eq!(parse("AUTO"), Ok(Cores::Auto));
        assert_eq!(parse("128"), Ok(Cores::Count(128)));
        for word in ["0", "129", "-1", "", "two"] {
            assert!(parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn shutdown_options_combine_but_for_save_and_nosave() {
        let parse = |list: &[&str]| ShutdownKind.parse(&words(list), &ShutdownOptions::default(), Origin::Command);
        let options = parse(&["FORCE", "save", "default"]).unwrap();
        assert_eq!(ShutdownKind.format(&options), b"save force");
        assert_eq!(ShutdownKind.format(&parse(&["default"]).unwrap()), b"default");
        assert!(parse(&["save", "nosave"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
