//! `slotcore check-aof [--fix] <manifest|file>`: are append-only files whole, and to where? No node need run, and none may.
//!
//! Says what redis-check-aof says. With `--fix` a file that does not end with a whole command or transaction is trimmed to where it
//! was whole last, each core's last file like the only one of a stock server: a truncated file that is not the last one keeps a
//! stock server from starting. The RDB part of a base is never trimmed. A manifest that was edited by hand gets a checksum that matches.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::Path;

use super::append_only::folder::{reason, replace_manifest};
use crate::config::Config;
use crate::persist::aof::{CommandReader, FileEntry, Manifest, ManifestError, Step, Units};
use crate::persist::rdb::{ChecksumVerdict, LoadLimits, ReaderOptions, Record, RecordReader, decode_value};

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Checks the files that `path` is or names. `said` gets the lines for the operator.
///
/// # Errors
/// The last line: something is not valid and was not mended.
pub fn check(path: &Path, fix: bool, said: &mut dyn FnMut(String)) -> Result<(), String> {
    let is_manifest = path.extension().is_some_and(|end| end == "manifest");
    if !is_manifest {
        return check_file(path, fix, true, said);
    }
    said("Start checking Multi Part AOF".to_owned());
    let text = fs::read(path).map_err(|error| format!("Cannot open {}: {}", path.display(), reason(&error)))?;
    let not_valid = |error: ManifestError| format!("AOF manifest {}, {error}", path.display());
    let (manifest, is_sealed) = match Manifest::parse(&text) {
        Err(_) if fix => (Manifest::parse_unsealed(&text).map_err(not_valid)?, false),
        read => (read.map_err(not_valid)?, true),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path_of = |entry: &FileEntry| folder.join(String::from_utf8_lossy(&entry.name).into_owned());
    if let Some(base) = &manifest.base {
        said("Start to check BASE AOF.".to_owned());
        check_file(&path_of(base), fix, manifest.increments.is_empty(), said)?;
    }
    let written_from = manifest.increments.len().saturating_sub(manifest.writers.unwrap_or(1));
    if !manifest.increments.is_empty() {
        said("Start to check INCR files.".to_owned());
    }
    for (at, increment) in manifest.increments.iter().enumerate() {
        check_file(&path_of(increment), fix, at >= written_from, said)?;
    }
    if !is_sealed {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        replace_manifest(folder, &name, &manifest)
            .map_err(|error| format!("Failed to write the AOF manifest {}: {}", path.display(), reason(&error)))?;
        said(format!("Successfully mended the checksum of the AOF manifest {}", path.display()));
    }
    said("All AOF files and manifest are valid".to_owned());
    Ok(())
}

fn check_file(path: &Path, fix: bool, may_be_cut: bool, said: &mut dyn FnMut(String)) -> Result<(), String> {
    let name = path.display();
    let failed = |error: std::io::Error| format!("Cannot open {name}: {}", reason(&error));
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut window = Window { file, bytes: Vec::new(), offset: 0, is_at_end: false };
    window.fill().map_err(failed)?;
    if window.bytes.starts_with(b"REDIS") || window.bytes.starts_with(b"VALKEY") {
        check_snapshot(&mut window, size)
            .map_err(|reason| format!("RDB part of AOF file {name} is not sane: {reason}"))?;
        said(format!("RDB preamble of AOF file {name} is OK"));
    }
    let (whole_bytes, damage) = check_commands(&mut window).map_err(failed)?;
    said(format!("AOF analyzed: filename={name}, size={size}, ok_up_to={whole_bytes}, diff={}", size - whole_bytes));
    if whole_bytes == size {
        said(format!("AOF {name} is valid"));
        return Ok(());
    }
    if let Some(damage) = damage {
        said(damage);
    }
    if !may_be_cut {
        return Err(format!(
            "Failed to truncate AOF {name} because it is not the last file: what was written after it counts on it"
        ));
    }
    if !fix {
        return Err(format!("AOF {name} is not valid. Use the --fix option to try fixing it."));
    }
    let opened = OpenOptions::new().write(true).open(path).map_err(failed)?;
    opened
        .set_len(whole_bytes)
        .and_then(|()| opened.sync_all())
        .map_err(|error| format!("Failed to truncate AOF {name}: {}", reason(&error)))?;
    said(format!("Successfully truncated AOF {name} from {size} to {whole_bytes} bytes"));
    Ok(())
}

/// A file, its bytes from some place on.
struct Window {
    file: File,
    bytes: Vec<u8>,
    offset: u64,
    is_at_end: bool,
}

impl Window {
    fn fill(&mut self) -> std::io::Result<()> {
        let read = (&self.file).take(CHUNK_BYTES).read_to_end(&mut self.bytes)?;
        self.is_at_end = (read as u64) < CHUNK_BYTES;
        Ok(())
    }

    fn pass(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.offset += count as u64;
    }
}

fn check_snapshot(window: &mut Window, size: u64) -> Result<(), String> {
    let mut reader = RecordReader::new(ReaderOptions { checksum: true, total_bytes: Some(size) });
    let limits = LoadLimits::of(&Config::default());
    loop {
        let mut batch = reader.batch(&window.bytes);
        while let Some(record) = batch.next_record().map_err(|error| error.to_string())? {
            match record {
                Record::Key(key) => {
                    let value = decode_value(key.kind, key.value, &limits);
                    value.map_err(|error| error.shifted(key.value_offset).to_string())?;
                }
                Record::End(ChecksumVerdict::Differs { .. }) => return Err("RDB CRC error".to_owned()),
                _ => {}
            }
        }
        let progress = batch.end();
        window.pass(progress.consumed);
        if reader.is_finished() {
            return Ok(());
        }
        if window.is_at_end {
            return Err(reader.cut_off().to_string());
        }
        window.fill().map_err(|error| reason(&error))?;
    }
}

/// To where the commands are whole, and what is wrong there if it is no cut.
fn check_commands(window: &mut Window) -> std::io::Result<(u64, Option<String>)> {
    let (mut reader, mut at) = (CommandReader::default(), 0);
    let mut units = Units { whole_bytes: window.offset, is_open: false };
    loop {
        let data = window.bytes.get(at..).unwrap_or_default();
        match reader.next(data) {
            Ok(Step::Command { bytes }) => {
                let name = reader.args(data).get(0).unwrap_or_default().to_vec();
                reader.pass();
                at += bytes;
                units.command(&name, window.offset + at as u64);
            }
            Ok(Step::Annotation { bytes }) => {
                at += bytes;
                units.annotation(window.offset + at as u64);
            }
            Ok(Step::Incomplete) if window.is_at_end => {
                let missing = units.is_open.then(|| "Reached EOF before reading EXEC for MULTI".to_owned());
                return Ok((units.whole_bytes, missing));
            }
            Ok(Step::Incomplete) => {
                window.pass(at);
                at = 0;
                window.fill()?;
            }
            Err(damage) => {
                let offset = window.offset + (at + damage.at) as u64;
                return Ok((units.whole_bytes, Some(format!("At offset {offset}: {}", damage.reason))));
            }
        }
    }
}
