//! The command line: `slotcore [FILE] [-] [--directive value ...]`, turned into lines of configuration.
//!
//! Called by `main` before anything is read. It only rearranges words: the lines are read by the file reader, after the
//! file and standard input, so that the command line wins.

use super::include::path_of;
use super::line::{quoted, split_words};
use std::path::PathBuf;

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The file, if the first argument is one, as it was written.
    pub file: Option<PathBuf>,
    /// Whether more is to be read from standard input: `-` as the first or the last argument.
    pub stdin: bool,
    /// The directives as lines of a file.
    pub options: Vec<u8>,
}

impl Arguments {
    /// Reads the arguments that follow the program's name, as redis-server 7.2 does.
    ///
    /// An argument that begins with `--` starts a directive, unless the one before is still without a value (so that
    /// `--requirepass --secret` works); `--save` may stay without one and clears the save points.
    pub fn parse(arguments: &[Vec<u8>]) -> Arguments {
        let mut parsed = Arguments::default();
        let mut has_value = true;
        for (index, argument) in arguments.iter().enumerate() {
            let next = arguments.get(index.saturating_add(1));
            if index == 0 && !argument.starts_with(b"-") {
                parsed.file = Some(path_of(argument));
            } else if argument == b"-" && (index == 0 || next.is_none()) {
                parsed.stdin = true;
            } else if has_value && let Some(directive) = argument.strip_prefix(b"--") {
                has_value = parsed.start(directive, next.map(Vec::as_slice));
            } else {
                parsed.options.extend_from_slice(&quoted(argument));
                parsed.options.push(b' ');
                has_value = true;
            }
        }
        parsed
    }

    /// Begins the line of a directive; says whether it already has a value.
    fn start(&mut self, directive: &[u8], next: Option<&[u8]>) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend_from_slice(directive);
        self.options.push(b' ');
        // "--port 6380" as one argument brings its value along.
        if split_words(directive).is_none_or(|words| words.len() > 1) {
            return true;
        }
        let another_follows = next.is_some_and(|next| next.starts_with(b"--"));
        if directive.eq_ignore_ascii_case(b"save") && (another_follows || next.is_none()) {
            self.options.extend_from_slice(b"\"\"");
            return another_follows;
        }
        directive.eq_ignore_ascii_case(b"sentinel") && another_follows
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::{Sources, load};
    use super::*;

    fn parse(arguments: &[&str]) -> (Option<String>, bool, String) {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|one| one.as_bytes().to_vec()).collect();
        let parsed = Arguments::parse(&arguments);
        let file = parsed.file.map(|path| path.to_string_lossy().into_owned());
        (file, parsed.stdin, String::from_utf8(parsed.options).unwrap())
    }

    #[test]
    fn arguments_become_lines() {
        let table: &[(&[&str], Option<&str>, bool, &str)] = &[
            (&[], None, false, ""),
            (&["a.conf"], Some("a.conf"), false, ""),
            (
                &["a.conf", "--port", "7000", "--save", "900", "1"],
                Some("a.conf"),
                false,
                "port \"7000\" \nsave \"900\" \"1\" ",
            ),
            (&["-", "--port", "1"], None, true, "port \"1\" "),
            (&["--port", "1", "-"], None, true, "port \"1\" "),
            (&["--port 7000", "--hz 5"], None, false, "port 7000 \nhz 5 "),
            (&["--save", "--port", "1"], None, false, "save \"\"\nport \"1\" "),
            (&["--port", "1", "--save"], None, false, "port \"1\" \nsave \"\""),
            (&["--requirepass", "--port", "--port", "1"], None, false, "requirepass \"--port\" \nport \"1\" "),
            (&["--save", ""], None, false, "save \"\" "),
            (&["--sentinel", "--port", "1"], None, false, "sentinel \nport \"1\" "),
            (&["--logfile", "a b\n"], None, false, "logfile \"a b\\n\" "),
        ];
        for (arguments, file, stdin, options) in table {
            let expected = (file.map(str::to_owned), *stdin, (*options).to_owned());
            assert_eq!(parse(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_standard_input() {
        let (_, _, options) = parse(&["--port", "3", "--bind", "127.0.0.1 -::1"]);
        let loaded = load(Sources {
            stdin: Some(b"port 2"),
            environment: b"port 4",
            options: options.as_bytes(),
            ..Sources::default()
        })
        .unwrap();
        assert_eq!(
            (loaded.config.port, loaded.config.bind.as_slice()),
            (3, &["127.0.0.1".to_owned(), "-::1".to_owned()][..])
        );
    }

    #[test]
    fn an_error_of_the_command_line_says_so() {
        let (_, _, options) = parse(&["--port"]);
        let error = load(Sources { options: options.as_bytes(), ..Sources::default() }).unwrap_err();
        assert_eq!(
            (error.file.as_deref(), error.reason.as_str()),
            (Some("the command line"), "wrong number of arguments")
        );
    }
}
