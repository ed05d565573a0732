//! The directives whose value has a shape of its own: save points, listen addresses, output limits and
//! their like.
//!
//! Owns the types that the rest of the server reads (`SavePoint`, `OutputLimits`, ...) and their kinds. Called
//! through the rows of the table. `dir` is checked here but entered by the runtime: nothing here changes the process.

use super::line::quoted;
use super::number::{bytes_of, strtoll, with_unit};
use super::value::{Kind, Line, Origin, Rewrite, single, text};
use crate::base::number::parse_f64;
use crate::base::words::is_bare;
use std::path::{Path, PathBuf};

/// One `save` rule: save after `seconds` if at least `changes` writes happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// At least 1.
    pub seconds: u64,
    pub changes: u32,
}

/// `save SECONDS CHANGES ...`; an empty word clears. Lines of a file add up, the first one replaces the default.
pub struct SaveKind;

impl Kind for SaveKind {
    type Value = Vec<SavePoint>;

    fn parse(&self, words: &[Vec<u8>], old: &Vec<SavePoint>, origin: Origin) -> Result<Vec<SavePoint>, String> {
        let clears = matches!(words, [word] if word.is_empty());
        let words = if clears { &[] } else { words };
        let mut points = match origin {
            Origin::Line { first: false } if !clears => old.clone(),
            _ => Vec::new(),
        };
        let pairs = words.chunks_exact(2);
        let complete = pairs.remainder().is_empty();
        for pair in pairs {
            let [seconds, changes] = pair else { continue };
            let point = strtoll(seconds, 10).zip(strtoll(changes, 10));
            let Some((seconds @ 1.., changes @ 0..)) = point else {
                return Err("Invalid save parameters".to_owned());
            };
            let changes = u32::try_from(changes).unwrap_or(i32::MAX as u32).min(i32::MAX as u32);
            points.push(SavePoint { seconds: seconds.unsigned_abs(), changes });
        }
        if complete { Ok(points) } else { Err("Invalid save parameters".to_owned()) }
    }

    fn format(&self, value: &Vec<SavePoint>) -> Vec<u8> {
        joined(value.iter().map(|point| format!("{} {}", point.seconds, point.changes)))
    }

    fn rewrite(&self, name: &str, value: &Vec<SavePoint>, _default: &Vec<SavePoint>) -> Rewrite {
        if value.is_empty() {
            return Rewrite::line(name, b"\"\"", true);
        }
        let line = |point: &SavePoint| Line::new(name, format!("{} {}", point.seconds, point.changes).as_bytes(), true);
        Rewrite::Lines(value.iter().map(line).collect())
    }
}

/// The addresses to listen on: `*`, IPv4, IPv6; a leading `-` marks one that may be missing on this machine.
pub struct BindKind;

/// The largest number of addresses of `bind`.
pub const BIND_MAX: usize = 16;

impl Kind for BindKind {
    type Value = Vec<String>;

    fn parse(&self, words: &[Vec<u8>], _old: &Vec<String>, _origin: Origin) -> Result<Vec<String>, String> {
        if words.len() > BIND_MAX {
            return Err("Too many bind addresses specified.".to_owned());
        }
        if matches!(words, [word] if word.is_empty()) {
            return Ok(Vec::new());
        }
        // Addresses are written without quotes, as stock does, and none that needs them can be bound.
        if !words.iter().all(|word| is_bare(word)) {
            return Err("Invalid bind address specified.".to_owned());
        }
        words.iter().map(|word| text(word).map(str::to_owned)).collect()
    }

    fn format(&self, value: &Vec<String>) -> Vec<u8> {
        value.join(" ").into_bytes()
    }

    fn rewrite(&self, name: &str, value: &Vec<String>, default: &Vec<String>) -> Rewrite {
        if value == default {
            return Rewrite::Absent;
        }
        let shown = if value.is_empty() { b"\"\"".to_vec() } else { self.format(value) };
        Rewrite::line(name, &shown, true)
    }
}

/// Limits of the output buffer of one class of clients; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Closed at once above this.
    pub hard_bytes: u64,
    /// Closed after `soft_seconds` above this.
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`, by class of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    /// None for clients, 256mb 64mb 60 for replicas, 32mb 8mb 60 for subscribers.
    pub const DEFAULT: OutputLimits = OutputLimits {
        normal: OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 },
        replica: OutputLimit { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_seconds: 60 },
        pubsub: OutputLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_seconds: 60 },
    };

    fn each(&self) -> [(&'static str, &OutputLimit); 3] {
        [("normal", &self.normal), ("slave", &self.replica), ("pubsub", &self.pubsub)]
    }
}

/// Groups of four words: class, hard limit, soft limit, seconds. Classes that are not named keep their limits.
pub struct OutputLimitsKind;

impl Kind for OutputLimitsKind {
    type Value = OutputLimits;

    fn parse(&self, words: &[Vec<u8>], old: &OutputLimits, _origin: Origin) -> Result<OutputLimits, String> {
        let mut limits = *old;
        let groups = words.chunks_exact(4);
        if !groups.remainder().is_empty() {
            return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
        }
        for group in groups {
            let [class, hard, soft, seconds] = group else {
                continue;
            };
            let class = match class.to_ascii_lowercase().as_slice() {
                b"normal" => &mut limits.normal,
                b"slave" | b"replica" => &mut limits.replica,
                b"pubsub" => &mut limits.pubsub,
                _ => {
                    return Err("Invalid client class specified in buffer limit configuration.".to_owned());
                }
            };
            let (Some(hard_bytes), Some(soft_bytes), Some(seconds @ 0..)) =
                (bytes_of(hard), bytes_of(soft), strtoll(seconds, 10))
            else {
                return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned());
            };
            *class = OutputLimit { hard_bytes, soft_bytes, soft_seconds: seconds.unsigned_abs() };
        }
        Ok(limits)
    }

    fn format(&self, value: &OutputLimits) -> Vec<u8> {
        let show = |(class, limit): (&str, &OutputLimit)| {
            format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        };
        joined(value.each().into_iter().map(show))
    }

    fn rewrite(&self, name: &str, value: &OutputLimits, default: &OutputLimits) -> Rewrite {
        let mut lines = Vec::new();
        for ((class, limit), (_, default)) in value.each().into_iter().zip(default.each()) {
            let class = if class == "slave" { "replica" } else { class };
            let (hard, soft) = (with_unit(i128::from(limit.hard_bytes)), with_unit(i128::from(limit.soft_bytes)));
            let shown = format!("{class} {hard} {soft} {}", limit.soft_seconds);
            lines.push(Line::new(name, shown.as_bytes(), limit != default));
        }
        Rewrite::Lines(lines)
    }
}

/// `oom-score-adj-values`: for a primary, a replica and a child, each -2000 to 2000.
pub struct OomScoreAdjValuesKind;

impl Kind for OomScoreAdjValuesKind {
    type Value = [i32; 3];

    fn parse(&self, words: &[Vec<u8>], _old: &[i32; 3], _origin: Origin) -> Result<[i32; 3], String> {
        let [primary, replica, child] = words else {
            return Err("wrong number of arguments".to_owned());
        };
        let read = |word: &[u8]| match strtoll(word, 10) {
            Some(number @ -2000..=2000) => Ok(number as i32),
            _ => Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".to_owned()),
        };
        Ok([read(primary)?, read(replica)?, read(child)?])
    }

    fn format(&self, value: &[i32; 3]) -> Vec<u8> {
        joined(value.iter().map(i32::to_string))
    }
}

/// `replicaof`: the primary to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    pub host: String,
    pub port: u16,
}

/// `HOST PORT`, or `no one`.
pub struct ReplicaOfKind;

impl Kind for ReplicaOfKind {
    type Value = Option<Primary>;

    fn parse(&self, words: &[Vec<u8>], _old: &Option<Primary>, _origin: Origin) -> Result<Option<Primary>, String> {
        let [host, port] = words else {
            return Err("wrong number of arguments".to_owned());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            return Ok(None);
        }
        let port = strtoll(port, 10).map(u16::try_from);
        let Some(Ok(port)) = port else {
            return Err("Invalid master port".to_owned());
        };
        Ok(Some(Primary { host: text(host)?.to_owned(), port }))
    }

    fn format(&self, value: &Option<Primary>) -> Vec<u8> {
        value.as_ref().map(|primary| format!("{} {}", primary.host, primary.port)).unwrap_or_default().into_bytes()
    }

    fn rewrite(&self, name: &str, value: &Option<Primary>, _default: &Option<Primary>) -> Rewrite {
        match value {
            None => Rewrite::Absent,
            Some(_) => Rewrite::line(name, &self.format(value), true),
        }
    }
}

/// `latency-tracking-info-percentiles`: 0.0 to 100.0 each, in the order given.
pub struct PercentilesKind;

impl Kind for PercentilesKind {
    type Value = Vec<f64>;

    fn parse(&self, words: &[Vec<u8>], _old: &Vec<f64>, _origin: Origin) -> Result<Vec<f64>, String> {
        if matches!(words, [word] if word.is_empty()) {
            return Ok(Vec::new());
        }
        let read = |word: &Vec<u8>| match parse_f64(word) {
            Some(number) if (0.0..=100.0).contains(&number) => Ok(number),
            Some(_) => Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".to_owned()),
            _ => Err("Invalid latency-tracking-info-percentiles parameters".to_owned()),
        };
        words.iter().map(read).collect()
    }

    fn format(&self, value: &Vec<f64>) -> Vec<u8> {
        let show = |number: &f64| format!("{number:.6}").trim_end_matches('0').trim_end_matches('.').to_owned();
        joined(value.iter().map(show))
    }

    fn rewrite(&self, name: &str, value: &Vec<f64>, _default: &Vec<f64>) -> Rewrite {
        let shown = if value.is_empty() { b"\"\"".to_vec() } else { self.format(value) };
        Rewrite::line(name, &shown, true)
    }
}

/// `dir`: the working directory, kept as an absolute path.
pub struct DirKind;

impl Kind for DirKind {
    type Value = String;

    /// Checks that the process could enter the folder; a relative one counts from the old value. Entering it is
    /// the runtime's.
    fn parse(&self, words: &[Vec<u8>], old: &String, _origin: Origin) -> Result<String, String> {
        let word = text(single(words)?)?;
        // An empty path joined to a folder is that folder, but entering "" fails.
        let wanted = if word.is_empty() { PathBuf::new() } else { Path::new(old).join(word) };
        // Looking up "." inside needs what chdir needs: a folder, with the right to search it.
        let entered = std::fs::metadata(wanted.join("."))
            .and_then(|_| wanted.canonicalize())
            .map_err(|error| system_reason(&error))?;
        match entered.into_os_string().into_string() {
            Ok(path) => Ok(path),
            Err(_) => Err("argument must be valid UTF-8".to_owned()),
        }
    }

    fn format(&self, value: &String) -> Vec<u8> {
        value.as_bytes().to_vec()
    }

    fn rewrite(&self, name: &str, value: &String, _default: &String) -> Rewrite {
        Rewrite::line(name, &quoted(value.as_bytes()), true)
    }
}

/// The working directory of the process, the default of `dir`; empty when it is gone.
pub fn working_directory() -> String {
    std::env::current_dir().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The system's text for an error, as `strerror` gives it: without the number that Rust appends.
pub fn system_reason(error: &std::io::Error) -> String {
    let shown = error.to_string();
    match (error.raw_os_error(), shown.rfind(" (os error ")) {
        (Some(_), Some(end)) => shown.get(..end).unwrap_or_default().to_owned(),
        _ => shown,
    }
}

fn joined(parts: impl Iterator<Item = String>) -> Vec<u8> {
    parts.collect::<Vec<_>>().join(" ").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn save_is_replaced_by_the_first_line_and_extended_by_the_next() {
        let default = vec![SavePoint { seconds: 3600, changes: 1 }];
        let first = SaveKind.parse(&words("900 1"), &default, Origin::Line { first: true }).unwrap();
        let second = SaveKind.parse(&words("300 10"), &first, Origin::Line { first: false }).unwrap();
        assert_eq!(SaveKind.format(&second), b"900 1 300 10");
        let cleared = SaveKind.parse(&words(""), &second, Origin::Line { first: false }).unwrap();
        assert_eq!(cleared, []);
        let set = SaveKind.parse(&words("60 5"), &second, Origin::Command).unwrap();
        assert_eq!(SaveKind.format(&set), b"60 5");
    }

    #[test]
    fn save_refuses_odd_zero_and_negative() {
        for line in ["900", "0 1", "900 -1", "x 1", "900 1 300", "900 1x"] {
            let error = SaveKind.parse(&words(line), &Vec::new(), Origin::Command).unwrap_err();
            assert_eq!(error, "Invalid save parameters", "{line}");
        }
    }

    #[test]
    fn bind_takes_words_that_need_no_quotes() {
        let parse = |words: &[&str]| {
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            BindKind.parse(&words, &Vec::new(), Origin::Command)
        };
        assert_eq!(parse(&["127.0.0.1", "-::1", "*"]).unwrap(), ["127.0.0.1", "-::1", "*"]);
        assert_eq!(parse(&[""]).unwrap(), [""; 0]);
        for words in [&["a b"][..], &["127.0.0.1", ""], &["it's"], &["\"x\""], &["a\n"], &["\u{1}"]] {
            assert_eq!(parse(words).unwrap_err(), "Invalid bind address specified.", "{words:?}");
        }
        assert_eq!(parse(&["x"; BIND_MAX + 1]).unwrap_err(), "Too many bind addresses specified.");
    }

    #[test]
    fn output_limits_change_only_the_classes_named() {
        let parse = |line| OutputLimitsKind.parse(&words(line), &OutputLimits::DEFAULT, Origin::Command);
        let limits = parse("Replica 1mb 2kb 3 normal 10 20 30").unwrap();
        assert_eq!(
            OutputLimitsKind.format(&limits),
            b"normal 10 20 30 slave 1048576 2048 3 pubsub 33554432 8388608 60"
        );
        assert!(parse("normal 1 1").unwrap_err().starts_with("Wrong number of arguments"));
        assert!(parse("master 1 1 1").unwrap_err().starts_with("Invalid client class"));
        assert!(parse("normal 1 1 -1").unwrap_err().starts_with("Error in hard, soft"));
    }

    #[test]
    fn replicaof_takes_host_and_port_or_no_one() {
        let parse = |line| ReplicaOfKind.parse(&words(line), &None, Origin::Command);
        assert_eq!(parse("10.0.0.1 6379").unwrap(), Some(Primary { host: "10.0.0.1".to_owned(), port: 6379 }));
        assert_eq!(parse("NO One").unwrap(), None);
        assert_eq!(parse("a 65536").unwrap_err(), "Invalid master port");
        assert_eq!(parse("a").unwrap_err(), "wrong number of arguments");
    }

    #[test]
    fn percentiles_lose_their_trailing_zeros() {
        let parse = |line| PercentilesKind.parse(&words(line), &Vec::new(), Origin::Command);
        assert_eq!(PercentilesKind.format(&parse("50 99.90 0.0 100").unwrap()), b"50 99.9 0 100");
        assert_eq!(parse("").unwrap(), Vec::<f64>::new());
        assert!(parse("101").unwrap_err().contains("[0.0,100.0]"));
        assert!(parse("nan").unwrap_err().starts_with("Invalid"));
    }

    #[test]
    fn dir_must_be_a_folder_one_can_enter() {
        let parse = |word| DirKind.parse(&words(word), &"/".to_owned(), Origin::Command);
        assert_eq!(parse("/proc/../proc").unwrap(), "/proc");
        assert_eq!(parse("proc").unwrap(), "/proc");
        assert_eq!(parse("/no/such/folder").unwrap_err(), "No such file or directory");
        assert_eq!(parse("").unwrap_err(), "No such file or directory");
        assert_eq!(parse("/proc/version").unwrap_err(), "Not a directory");
    }
}
