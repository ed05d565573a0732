//! Secrets in requests: what MONITOR and the slow log must not show.
//!
//! Called by `monitor` and `execute` with a request that they are about to show; it changes nothing else.

use super::spec::CommandSpec;
use crate::config;
use crate::resp::{Args, ArgsBuf};

/// What stands in place of a secret.
const REDACTED: &[u8] = b"(redacted)";

/// A copy of the request with its secrets covered; None when it has none.
pub fn redacted(spec: &CommandSpec, args: &Args<'_>) -> Option<ArgsBuf> {
    let secrets = match spec.name {
        "auth" if args.len() <= 3 => (1..args.len()).collect(),
        "hello" => after_auth(args, 2),
        "migrate" => of_migrate(args),
        "config|set" => sensitive_values(args),
        _ => return None,
    };
    if secrets.is_empty() {
        return None;
    }
    let covered = args.iter().enumerate().map(|(at, argument)| if secrets.contains(&at) { REDACTED } else { argument });
    Some(covered.collect())
}

/// The two arguments behind each AUTH, from `first` on: a user and a password.
fn after_auth(args: &Args<'_>, first: usize) -> Vec<usize> {
    let mut secrets = Vec::new();
    let mut at = first;
    while let Some(word) = args.get(at) {
        if word.eq_ignore_ascii_case(b"auth") && args.len() > at + 2 {
            secrets.extend([at + 1, at + 2]);
            at += 2;
        } else if word.eq_ignore_ascii_case(b"setname") {
            at += 1; // a name may be "auth"
        }
        at += 1;
    }
    secrets
}

/// What follows AUTH and AUTH2 among the options of MIGRATE.
fn of_migrate(args: &Args<'_>) -> Vec<usize> {
    let mut secrets = Vec::new();
    let mut at = 6;
    while let Some(word) = args.get(at).filter(|word| !word.eq_ignore_ascii_case(b"keys")) {
        let count = match () {
            () if word.eq_ignore_ascii_case(b"auth") => 1,
            () if word.eq_ignore_ascii_case(b"auth2") => 2,
            () => 0,
        };
        secrets.extend((at + 1..=at + count).filter(|secret| *secret < args.len()));
        at += 1 + count;
    }
    secrets
}

/// CONFIG SET: the values of directives that are secrets.
fn sensitive_values(args: &Args<'_>) -> Vec<usize> {
    let is_sensitive = |name: &[u8]| config::lookup(name).is_some_and(|(directive, _)| directive.is_sensitive());
    (2..args.len())
        .step_by(2)
        .filter(|at| is_sensitive(&args[*at]))
        .map(|at| at + 1)
        .filter(|at| *at < args.len())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::table;

    fn shown(name: &str, line: &str) -> String {
        let args = ArgsBuf::from_iter(line.split(' '));
        let spec =
            CommandSpec { name: Box::leak(name.to_owned().into_boxed_str()), ..*table().find(b"ping").unwrap().spec() };
        let covered = redacted(&spec, &args.as_args()).unwrap_or(args);
        let words: Vec<String> =
            covered.as_args().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn passwords_are_covered() {
        for (name, line, expected) in [
            ("auth", "AUTH secret", "AUTH (redacted)"),
            ("auth", "AUTH user secret", "AUTH (redacted) (redacted)"),
            ("auth", "AUTH a b c", "AUTH a b c"),
            ("hello", "HELLO 3 SETNAME auth AUTH u p", "HELLO 3 SETNAME auth AUTH (redacted) (redacted)"),
            ("hello", "HELLO 3 auth u p setname x", "HELLO 3 auth (redacted) (redacted) setname x"),
            (
                "config|set",
                "config set hz 10 requirepass x masterauth y",
                "config set hz 10 requirepass (redacted) masterauth (redacted)",
            ),
            ("config|set", "config set requirepass", "config set requirepass"),
            (
                "migrate",
                "migrate h 1 k 0 9 COPY auth2 u p AUTH x keys auth y",
                "migrate h 1 k 0 9 COPY auth2 (redacted) (redacted) AUTH (redacted) keys auth y",
            ),
            ("migrate", "migrate h 1 auth 0 9 auth", "migrate h 1 auth 0 9 auth"),
            ("get", "get auth", "get auth"),
        ] {
            assert_eq!(shown(name, line), expected);
        }
    }
}
