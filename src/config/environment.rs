//! Directives in environment variables: `SLOTCORE_<DIRECTIVE>`, which is how containers are configured, and a password in the
//! file that `SLOTCORE_PASSWORD_FILE` names, which is how they are given secrets.
//!
//! A variable is read like an option of the command line with one value: `SLOTCORE_SAVE="900 1 300 10"` is
//! `--save "900 1 300 10"`. One that is empty is none, because compose files write `${NAME:-}` for what the user has not set; `""` is
//! a value that is empty. Called by `main` and by `admin`, for passwords. It reads no variable itself: they are handed in.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::DIRECTIVES;
use super::line::quoted;
use super::words::system_reason;

/// What all variables of ours begin with.
const PREFIX: &[u8] = b"SLOTCORE_";
/// Names the file that the password is read from.
pub const PASSWORD_FILE_VARIABLE: &str = "SLOTCORE_PASSWORD_FILE";
/// The longest password that is read from a file.
const PASSWORD_BYTES_MAX: usize = 64 << 10;

/// What the environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The directives as lines of a file, in the order of the variables' names; the password's come first.
    pub lines: Vec<u8>,
    /// Variables that look like ours and set nothing: one line each.
    pub warnings: Vec<String>,
}

impl Environment {
    /// Reads the variables, names and values.
    ///
    /// # Errors
    /// One line: the file of the password cannot be read.
    pub fn read(variables: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Environment, String> {
        let mut variables: Vec<_> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        variables.sort_unstable();
        let mut environment = Environment::default();
        if let Some(password) = password_of(&variables)? {
            environment.set("requirepass", &password);
            environment.set("masterauth", &password);
        }
        for (name, value) in variables.iter().filter(|(_, value)| !value.is_empty()) {
            environment.take(name, value);
        }
        Ok(environment)
    }

    fn take(&mut self, name: &[u8], value: &[u8]) {
        let shown = String::from_utf8_lossy(name);
        match directive_of(name) {
            // Kubernetes tells every container of a namespace where its services are, in variables named after them.
            Some("port") if value.starts_with(b"tcp://") => self.warnings.push(format!(
                "{shown} is passed over: it is what Kubernetes sets for a service named 'slotcore', and no port"
            )),
            Some(directive) => self.set(directive, value),
            None if name == PASSWORD_FILE_VARIABLE.as_bytes() => {}
            None => {
                self.warnings.push(format!("the environment variable {shown} names no directive and is passed over"))
            }
        }
    }

    fn set(&mut self, directive: &str, value: &[u8]) {
        self.lines.extend_from_slice(directive.as_bytes());
        self.lines.push(b' ');
        self.lines.extend_from_slice(&quoted(value));
        self.lines.push(b'\n');
    }
}

/// The directive that a variable names: in capitals, with `_` for `-`.
fn directive_of(variable: &[u8]) -> Option<&'static str> {
    let wanted = variable.strip_prefix(PREFIX)?;
    let is_wanted = |name: &&str| {
        name.bytes().map(|byte| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }).eq(wanted.iter().copied())
    };
    DIRECTIVES.iter().flat_map(super::Directive::names).find(is_wanted)
}

fn password_of(variables: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<Vec<u8>>, String> {
    let file = variables.iter().find(|(name, _)| name == PASSWORD_FILE_VARIABLE.as_bytes()).map(|(_, path)| path);
    match file.filter(|path| !path.is_empty()) {
        Some(path) => password_in(&super::include::path_of(path)),
        None => Ok(None),
    }
}

/// The password in a file: its first line. An empty file is no password.
///
/// # Errors
/// One line with the file and the reason.
pub fn password_in(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let cannot =
        |why: &str| format!("Can't read the password in '{}' ({PASSWORD_FILE_VARIABLE}): {why}", path.display());
    let mut content = Vec::new();
    let limit = u64::try_from(PASSWORD_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content));
    read.map_err(|error| cannot(&system_reason(&error)))?;
    if content.len() > PASSWORD_BYTES_MAX {
        return Err(cannot(&format!("it is longer than {PASSWORD_BYTES_MAX} bytes")));
    }
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok((!line.is_empty()).then(|| line.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::super::file::{Sources, load};
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        let bytes = variables.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Environment::read(bytes).unwrap()
    }

    #[test]
    fn every_directive_has_a_variable_of_its_own() {
        for directive in DIRECTIVES {
            let variable = format!("SLOTCORE_{}", directive.name.to_ascii_uppercase().replace('-', "_"));
            let named = directive_of(variable.as_bytes()).map(|name| name.replace('-', "_"));
            assert_eq!(named, Some(directive.name.replace('-', "_")));
        }
        assert_eq!(directive_of(b"SLOTCORE_SLAVEOF"), Some("slaveof"));
        for name in ["SLOTCORE_", "SLOTCORE_port", "PORT", "SLOTCORE_PORTS", "SLOTCORE_CLUSTER-ENABLED"] {
            assert_eq!(directive_of(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn variables_become_lines_and_empty_ones_none() {
        let environment = read(&[
            ("SLOTCORE_SAVE", "900 1 300 10"),
            ("HOME", "/root"),
            ("SLOTCORE_PORT", "7000"),
            ("SLOTCORE_CLUSTER_ANNOUNCE_PORT", ""),
            ("SLOTCORE_REQUIREPASS", "two \"words\"\n"),
        ]);
        let expected = "port \"7000\"\nrequirepass \"two \\\"words\\\"\\n\"\nsave \"900 1 300 10\"\n";
        assert_eq!(environment, Environment { lines: expected.as_bytes().to_vec(), warnings: Vec::new() });
        let loaded = load(Sources { environment: &environment.lines, ..Sources::default() }).unwrap();
        assert_eq!((loaded.config.port, loaded.config.requirepass.as_slice()), (7000, &b"two \"words\"\n"[..]));
        assert_eq!(loaded.config.save.len(), 2);
        let cleared = load(Sources { environment: &read(&[("SLOTCORE_SAVE", "\"\"")]).lines, ..Sources::default() });
        assert_eq!(cleared.unwrap().config.save, []);
    }

    #[test]
    fn what_names_nothing_is_said_and_the_words_of_kubernetes_are_no_port() {
        let environment = read(&[("SLOTCORE_PROT", "1"), ("SLOTCORE_PORT", "tcp://10.0.0.1:6379"), ("SLOTCORE_X", "")]);
        assert!(environment.lines.is_empty());
        let [kubernetes, unknown] = environment.warnings.as_slice() else { panic!("{:?}", environment.warnings) };
        assert!(kubernetes.contains("SLOTCORE_PORT is passed over") && unknown.contains("SLOTCORE_PROT names no"));
    }

    #[test]
    fn a_password_file_sets_both_passwords_and_a_variable_wins_over_it() {
        let path = std::env::temp_dir().join(format!("slotcore-password-{}", std::process::id()));
        let variable = |path: &Path| (PASSWORD_FILE_VARIABLE.to_owned(), path.display().to_string());
        std::fs::write(&path, "se cret\r\nrest\n").unwrap();
        let (name, value) = variable(&path);
        let both = read(&[(&name, &value), ("SLOTCORE_MASTERAUTH", "other")]);
        assert_eq!(both.lines, b"requirepass \"se cret\"\nmasterauth \"se cret\"\nmasterauth \"other\"\n");
        for none in ["", "\n"] {
            std::fs::write(&path, none).unwrap();
            assert_eq!(read(&[(&name, &value)]), Environment::default());
        }
        std::fs::write(&path, vec![b'x'; PASSWORD_BYTES_MAX + 1]).unwrap();
        assert!(password_in(&path).unwrap_err().contains("longer than"));
        std::fs::remove_file(&path).unwrap();
        let missing = password_in(&path).unwrap_err();
        assert!(missing.contains("slotcore-password") && missing.ends_with("No such file or directory"), "{missing}");
        assert_eq!(read(&[(&name, "")]), Environment::default());
    }
}
