//! Reading the configuration at start: lines, `include`, and errors that name their place.
//!
//! Owns the order of the sources (file, standard input, the environment, the command line; what comes last wins) and the
//! directives that exist in files alone. Called by `main` once. It reads files, and never writes one.

use super::include::{self, Included};
use super::line::{split_words, trim};
use super::value::Origin;
use super::words::system_reason;
use super::{Config, Flags, lookup};
use hashbrown::HashSet;
use std::path::Path;

/// Redis's reason for a line that cannot be split.
const UNBALANCED: &str = "Unbalanced quotes in configuration line";
/// How deep `include` may nest; Redis has no limit and dies of a file that includes itself.
const INCLUDE_DEPTH_MAX: usize = 16;
/// How many files may be read in all.
const FILES_MAX: usize = 1000;

/// What the configuration is made of, each part after the one before.
#[derive(Clone, Copy, Default)]
pub struct Sources<'a> {
    /// The file named on the command line.
    pub file: Option<&'a Path>,
    /// What was read from standard input, if the command line has a `-`.
    pub stdin: Option<&'a [u8]>,
    /// The directives of environment variables, one a line: [`super::Environment::lines`].
    pub environment: &'a [u8],
    /// The directives of the command line, one a line: [`super::Arguments::options`].
    pub options: &'a [u8],
}

/// A configuration that was read, and what the log should say about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path as it was given, or words for standard input, the environment and the command line.
    pub file: Option<String>,
    /// Counted from 1 in each file; 0 where it is no line that is wrong.
    pub line: u64,
    /// The line, without blanks at its ends.
    pub text: String,
}

/// A line that only files have: `rename-command`, `user`, `loadmodule`, or a setting of a module (`name.setting`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    pub place: Place,
    /// The words of the line; the first is the name in lower case.
    pub words: Vec<Vec<u8>>,
}

impl FileRow {
    /// The name of the directive, or `settings of modules`.
    pub fn kind(&self) -> &'static str {
        match self.words.first().map(Vec::as_slice) {
            Some(b"user") => "user",
            Some(b"rename-command") => "rename-command",
            Some(b"loadmodule") => "loadmodule",
            _ => "settings of modules",
        }
    }

    /// The error that stops the start because of this line, for who finds out later what is wrong with it.
    pub fn error(&self, reason: &str) -> ConfigError {
        ConfigError::at(self.place.clone(), reason)
    }
}

/// Why the configuration is refused. Shown in Redis's layout, with the file added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: Option<String>,
    /// 0 if no line is at fault.
    pub line: u64,
    /// The offending line.
    pub text: String,
    pub reason: String,
}

impl ConfigError {
    fn at(place: Place, reason: &str) -> ConfigError {
        ConfigError { file: place.file, line: place.line, text: place.text, reason: reason.to_owned() }
    }

    /// An error of the configuration as a whole.
    pub fn whole(reason: &str) -> ConfigError {
        ConfigError { file: None, line: 0, text: String::new(), reason: reason.to_owned() }
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "*** FATAL CONFIG FILE ERROR (slotcore {}) ***", env!("CARGO_PKG_VERSION"))?;
        match (&self.file, self.line) {
            (Some(file), 1..) => {
                writeln!(formatter, "Reading the configuration file, at line {} of {file}", self.line)?
            }
            (None, 1..) => writeln!(formatter, "Reading the configuration file, at line {}", self.line)?,
            (Some(file), 0) => writeln!(formatter, "Reading the configuration file {file}")?,
            (None, 0) => {}
        }
        if !self.text.is_empty() {
            writeln!(formatter, ">>> '{}'", self.text)?;
        }
        formatter.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// Reads the whole configuration. Stops at the first line that is wrong.
pub fn load(sources: Sources<'_>) -> Result<Loaded, ConfigError> {
    let mut reader = Reader { config: Config::default(), seen: HashSet::new(), files: 0 };
    if let Some(file) = sources.file {
        let place = Place { file: Some(file.to_string_lossy().into_owned()), line: 0, text: String::new() };
        reader.files(file, &place, 0)?;
    }
    if let Some(text) = sources.stdin {
        reader.text("standard input", text, 0)?;
    }
    reader.text("the environment", sources.environment, 0)?;
    reader.text("the command line", sources.options, 0)?;
    finish(reader.config)
}

/// The checks and corrections that need all directives.
fn finish(mut config: Config) -> Result<Loaded, ConfigError> {
    let mut warnings = Vec::new();
    if config.cluster_enabled && config.replicaof.is_some() {
        return Err(ConfigError::whole("replicaof directive not allowed in cluster mode"));
    }
    if !config.cluster_discovery.is_empty() && !config.cluster_enabled {
        return Err(ConfigError::whole("cluster-discovery needs cluster-enabled yes"));
    }
    if config.cluster_enabled && config.databases > 1 {
        warnings.push(format!("a cluster node has one database: 'databases {}' is taken as 1", config.databases));
        config.databases = 1;
    }
    config.keep_hz_in_range();
    Ok(Loaded { config, warnings })
}

impl Config {
    /// `hz` is a wish: Redis takes a value out of range as the nearest limit instead of refusing it.
    pub(super) fn keep_hz_in_range(&mut self) {
        self.hz = self.hz.clamp(1, 500);
    }
}

/// What is being read, over all files.
struct Reader {
    config: Config,
    /// Directives that a line has set, for those whose lines add up.
    seen: HashSet<&'static str>,
    /// Files read so far.
    files: usize,
}

impl Reader {
    /// Reads the file, or the files if the path is a pattern; a pattern without a match reads nothing.
    fn files(&mut self, path: &Path, place: &Place, depth: usize) -> Result<(), ConfigError> {
        let cannot_open = |path: &Path, error: &std::io::Error| {
            let reason = format!("Fatal error, can't open config file '{}': {}", path.display(), system_reason(error));
            ConfigError::at(place.clone(), &reason)
        };
        let paths = match include::expand(path, Path::new(&self.config.dir)) {
            Included::One(path) => vec![path],
            Included::Pattern(paths) => paths,
        };
        for path in paths {
            self.files = self.files.saturating_add(1);
            if self.files > FILES_MAX {
                return Err(ConfigError::at(place.clone(), &format!("More than {FILES_MAX} files of configuration")));
            }
            let text = include::read(&path).map_err(|error| cannot_open(&path, &error))?;
            self.text(&path.to_string_lossy(), &text, depth)?;
        }
        Ok(())
    }

    fn text(&mut self, name: &str, text: &[u8], depth: usize) -> Result<(), ConfigError> {
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let shown = String::from_utf8_lossy(line).into_owned();
            self.line(line, Place { file: Some(name.to_owned()), line: number, text: shown }, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], place: Place, depth: usize) -> Result<(), ConfigError> {
        let Some(mut words) = split_words(line) else {
            return Err(ConfigError::at(place, UNBALANCED));
        };
        let Some(name) = words.first_mut() else {
            return Ok(());
        };
        name.make_ascii_lowercase();
        match self.directive(&words) {
            Some(Ok(())) => Ok(()),
            Some(Err(reason)) => Err(ConfigError::at(place, &reason)),
            None => self.only_in_files(words, place, depth),
        }
    }

    /// Sets a directive of the table; `None` if the name is not in it.
    fn directive(&mut self, words: &[Vec<u8>]) -> Option<Result<(), String>> {
        let (name, values) = words.split_first()?;
        let (directive, _) = lookup(name)?;
        let multi = directive.flags.has(Flags::MULTI);
        let split = match values {
            [_] if !multi => None,
            _ if !multi => return Some(Err("wrong number of arguments".to_owned())),
            // All words may come as one, in quotes; an empty one is a value of its own.
            [value] if !value.is_empty() => match split_words(value) {
                Some(words) => Some(words),
                None => return Some(Err(UNBALANCED.to_owned())),
            },
            _ => None,
        };
        let origin = Origin::Line { first: self.seen.insert(directive.name) };
        let values = split.as_deref().unwrap_or(values);
        Some((directive.parse)(&mut self.config, values, origin).map(|_| ()))
    }

    fn only_in_files(&mut self, words: Vec<Vec<u8>>, place: Place, depth: usize) -> Result<(), ConfigError> {
        let Some((name, values)) = words.split_first() else {
            return Ok(());
        };
        match (name.as_slice(), values.len()) {
            // Names that Redis itself no longer knows and passes over.
            (b"list-max-ziplist-entries" | b"list-max-ziplist-value" | b"lua-replicate-commands", 1) => Ok(()),
            (b"include", 1) => {
                if depth >= INCLUDE_DEPTH_MAX {
                    return Err(ConfigError::at(place, &format!("include nested more than {INCLUDE_DEPTH_MAX} deep")));
                }
                let path = values.first().map(|path| include::path_of(path)).unwrap_or_default();
                self.files(&path, &place, depth.saturating_add(1))
            }
            (b"rename-command", 2) | (b"user" | b"loadmodule", 1..) => {
                self.config.file_rows.push(FileRow { place, words });
                Ok(())
            }
            (setting, 0) if setting.contains(&b'.') => {
                Err(ConfigError::at(place, "Module config specified without value"))
            }
            (setting, _) if setting.contains(&b'.') => {
                self.config.file_rows.push(FileRow { place, words });
                Ok(())
            }
            (b"sentinel", 0) => Ok(()),
            (b"sentinel", _) => Err(ConfigError::at(place, "sentinel directive while not in sentinel mode")),
            _ => Err(ConfigError::at(place, "Bad directive or wrong number of arguments")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Loaded, ConfigError> {
        load(Sources { stdin: Some(text.as_bytes()), ..Sources::default() })
    }

    fn reason(text: &str) -> String {
        read(text).unwrap_err().reason
    }

    #[test]
    fn comments_blanks_and_letter_case_are_passed_over() {
        let config = read("# a comment\r\n\n  PORT 7000 \r\n\tMaxMemory 1gb\n").unwrap().config;
        assert_eq!((config.port, config.maxmemory), (7000, 1 << 30));
    }

    #[test]
    fn the_last_line_of_a_directive_wins_and_aliases_count() {
        let config = read("port 1\nport 2\nslave-priority 5\nserver-cpulist 0-3\n").unwrap().config;
        assert_eq!((config.port, config.replica_priority, config.server_cpulist.as_str()), (2, 5, "0-3"));
    }

    #[test]
    fn save_lines_add_up_across_sources_and_an_empty_one_clears() {
        let shown = |text: &str| String::from_utf8(read(text).unwrap().config.get(&[b"save"]).remove(0).1).unwrap();
        assert_eq!(shown("port 1"), "3600 1 300 100 60 10000");
        assert_eq!(shown("save 900 1\nsave 300 10"), "900 1 300 10");
        assert_eq!(shown("save \"900 1 300 10\""), "900 1 300 10");
        assert_eq!(shown("save \"\""), "");
        assert_eq!(shown("save"), "");
        assert_eq!(shown("save 900 1\nsave ''\nsave 5 5"), "5 5");
        let loaded = load(Sources { stdin: Some(b"save 900 1"), options: b"save 5 5", ..Sources::default() }).unwrap();
        assert_eq!(loaded.config.get(&[b"save"]), [(b"save".to_vec(), b"900 1 5 5".to_vec())]);
    }

    #[test]
    fn errors_have_redis_reasons() {
        let table = [
            ("foo bar", "Bad directive or wrong number of arguments"),
            ("port", "wrong number of arguments"),
            ("port 1 2", "wrong number of arguments"),
            ("port x", "argument couldn't be parsed into an integer"),
            ("port 70000", "argument must be between 0 and 65535 inclusive"),
            ("appendonly maybe", "argument must be 'yes' or 'no'"),
            ("maxmemory lots", "argument must be a memory value"),
            ("loglevel loud", "argument(s) must be one of the following: debug, verbose, notice, warning, nothing"),
            ("save 900", "Invalid save parameters"),
            ("dir /no/such/folder", "No such file or directory"),
            ("logfile \"a", "Unbalanced quotes in configuration line"),
            ("replicaof a", "wrong number of arguments"),
            ("include", "Bad directive or wrong number of arguments"),
            ("module.setting", "Module config specified without value"),
            ("sentinel monitor x", "sentinel directive while not in sentinel mode"),
            ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
            ("appendfilename ''", "appendfilename can't be empty"),
            ("cluster-enabled yes\nreplicaof a 1", "replicaof directive not allowed in cluster mode"),
            ("cluster-discovery dns:node", "cluster-discovery needs cluster-enabled yes"),
        ];
        for (text, expected) in table {
            assert_eq!(reason(text), expected, "{text}");
        }
    }

    #[test]
    fn an_error_shows_file_line_text_and_reason() {
        let folder = std::env::temp_dir().join(format!("slotcore-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("bad.conf");
        std::fs::write(&file, "port 1\n\n  port x  \n").unwrap();
        let error = load(Sources { file: Some(&file), ..Sources::default() }).unwrap_err();
        std::fs::remove_dir_all(&folder).unwrap();
        let shown = error.to_string();
        let expected = format!(
            "Reading the configuration file, at line 3 of {}\n>>> 'port x'\nargument couldn't be parsed into an integer",
            file.display()
        );
        assert!(shown.starts_with("*** FATAL CONFIG FILE ERROR (slotcore "), "{shown}");
        assert!(shown.ends_with(&expected), "{shown}");
    }

    #[test]
    fn lines_that_only_files_have_are_kept_with_their_place() {
        let config =
            read("rename-command FLUSHALL \"\"\nuser alice on\nloadmodule m.so a\nm.x 1 2\nsentinel\n").unwrap().config;
        let kinds: Vec<_> = config.file_rows.iter().map(FileRow::kind).collect();
        assert_eq!(kinds, ["rename-command", "user", "loadmodule", "settings of modules"]);
        let error = config.file_rows[0].error("No such command in rename-command");
        assert_eq!((error.line, error.text.as_str()), (1, "rename-command FLUSHALL \"\""));
    }

    #[test]
    fn includes_are_read_in_place_by_pattern_and_to_a_depth() {
        let folder = std::env::temp_dir().join(format!("slotcore-include-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("conf.d")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("conf.d/1.conf", "port 1\nhz 20");
        write("conf.d/2.conf", "port 2\n");
        write("conf.d/.hidden.conf", "port 9\n");
        write("loop.conf", &format!("include {0}\ninclude {0}\n", folder.join("loop.conf").display()));
        let named = |line: String| load(Sources { stdin: Some(line.as_bytes()), ..Sources::default() });
        let config = named(format!("port 5\ninclude {}/conf.d/*.conf\ntimeout 3\n", folder.display())).unwrap().config;
        assert_eq!((config.port, config.hz, config.timeout), (2, 20, 3));
        let config = named(format!("dir {}\ninclude conf.d/1.conf\n", folder.display())).unwrap().config;
        assert_eq!(config.port, 1);
        assert!(named(format!("include {}/none/*.conf\n", folder.display())).is_ok());
        let missing = named("port 1\ninclude /no/such/file\n".to_owned()).unwrap_err();
        assert_eq!(missing.reason, "Fatal error, can't open config file '/no/such/file': No such file or directory");
        assert_eq!(missing.line, 2);
        let endless = named(format!("include {}/loop.conf\n", folder.display())).unwrap_err();
        assert!(endless.reason.starts_with("include nested"), "{endless}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_cluster_node_has_one_database_and_hz_stays_in_range() {
        let loaded = read("cluster-enabled yes\nhz 10000\n").unwrap();
        assert_eq!((loaded.config.databases, loaded.config.hz, loaded.warnings.len()), (1, 500, 1));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "([a-z-]{1,12}[ \"'\\\\x0-9]{0,8}\n?){0,20}") {
            let _ = read(&text);
        }
    }
}
