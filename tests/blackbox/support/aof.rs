//! What a server has appended to its files: the commands of its incremental append-only files.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::{Server, holds_within};

/// A command, its name first.
pub type Words = Vec<Vec<u8>>;

/// A write may still be on its way when its reply is there.
const WRITTEN_LIMIT: Duration = Duration::from_secs(10);

/// The incremental files in the server's folder, in the order of their names.
pub fn files(server: &Server) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(server.dir.join("appendonlydir")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".incr.aof"));
    files.sort();
    files
}

/// All bytes of the incremental files.
pub fn bytes(server: &Server) -> Vec<u8> {
    files(server).iter().flat_map(|path| fs::read(path).expect("an append-only file")).collect()
}

/// The commands in the files, once the last of them is `last`.
pub fn commands_up_to(server: &Server, last: &[&str]) -> Vec<Words> {
    let last: Words = last.iter().map(|word| word.as_bytes().to_vec()).collect();
    let mut commands = Vec::new();
    let is_there = holds_within(WRITTEN_LIMIT, || {
        commands = parse(&bytes(server));
        commands.last() == Some(&last)
    });
    assert!(is_there, "{:?}: {} is not in its files: {:?}", server.kind, shown(&last), files(server));
    commands
}

/// The commands in the bytes of a file, as far as they are there. Annotations are left out.
pub fn parse(bytes: &[u8]) -> Vec<Words> {
    let mut rest = bytes;
    let mut commands = Vec::new();
    while let Some(command) = next(&mut rest) {
        if !command.is_empty() {
            commands.push(command);
        }
    }
    commands
}

fn next(rest: &mut &[u8]) -> Option<Words> {
    let (mark, count) = line(rest)?;
    match mark {
        b'#' => Some(Words::new()),
        b'*' => (0..count).map(|_| word(rest)).collect(),
        _ => panic!("no command: {:?}", String::from_utf8_lossy(&rest[..rest.len().min(60)])),
    }
}

fn word(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (_, length) = line(rest)?;
    let word = rest.get(..length)?.to_vec();
    *rest = rest.get(length + 2..)?;
    Some(word)
}

/// The first byte of a line and the number behind it, if there is one.
fn line(rest: &mut &[u8]) -> Option<(u8, usize)> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, behind) = (&rest[..end], &rest[end + 2..]);
    *rest = behind;
    let number = std::str::from_utf8(line.get(1..)?).ok().and_then(|digits| digits.parse().ok());
    Some((*line.first()?, number.unwrap_or(0)))
}

/// A command as one writes it.
pub fn shown(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}
