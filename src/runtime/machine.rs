//! The process and the system under the node, for core 0's commands.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::census::Census;
use super::worker::Doors;
use super::{listen, log, preflight};
use crate::command::machine::{CpuTime, CpuTimes, Machine, ProcessMemory};
use crate::config::{Config, LogLevel};

/// This process.
pub struct Process {
    census: Arc<Census>,
    doors: Rc<RefCell<Doors>>,
}

impl Process {
    pub fn new(census: Arc<Census>, doors: Rc<RefCell<Doors>>) -> Process {
        Process { census, doors }
    }
}

impl Machine for Process {
    fn memory(&self) -> ProcessMemory {
        ProcessMemory {
            resident_bytes: kib_line("/proc/self/status", "VmRSS:"),
            system_bytes: kib_line("/proc/meminfo", "MemTotal:"),
            peak_allocated_bytes: self.census.ledger.allocated_peak_bytes(),
        }
    }

    fn huge_pages_bytes(&self) -> u64 {
        kib_line("/proc/self/smaps_rollup", "AnonHugePages:")
    }

    fn cpu_times(&self) -> CpuTimes {
        CpuTimes {
            process: cpu_time(UsageWho::RUSAGE_SELF),
            children: cpu_time(UsageWho::RUSAGE_CHILDREN),
            first_core: cpu_time(UsageWho::RUSAGE_THREAD),
        }
    }

    fn set_log_level(&self, level: LogLevel) {
        log::set_level(level);
    }

    fn change_folder(&self, folder: &str) -> io::Result<()> {
        std::env::set_current_dir(folder)
    }

    fn fit_open_files(&self, maxclients: u32) -> Result<(), u32> {
        match preflight::fit_open_files(maxclients) {
            Ok(fitting) if fitting >= maxclients => Ok(()),
            Ok(fitting) => Err(fitting),
            Err(_) => Err(0),
        }
    }

    /// The old sockets give their addresses free first, since the new ones may overlap with them.
    fn listen(&self, config: &Config) -> Result<(), String> {
        let doors = &mut *self.doors.borrow_mut();
        let is_tcp = |listener: &listen::Listener| listener.unix_path.is_none();
        doors.listeners.iter().flatten().filter(|listener| is_tcp(listener)).for_each(listen::Listener::suspend);
        match listen::tcp_listeners(config, self.census.cores_count()) {
            Ok(new) => {
                for place in &mut doors.listeners {
                    place.take_if(|listener| is_tcp(listener));
                }
                for listener in new {
                    doors.unarmed.push(doors.listeners.len());
                    doors.listeners.push(Some(listener));
                }
                Ok(())
            }
            Err(line) => {
                let old = doors.listeners.iter().flatten().filter(|listener| is_tcp(listener));
                old.for_each(|listener| listener.resume(config.tcp_backlog));
                Err(line)
            }
        }
    }

    fn read_file(&self, path: &str) -> io::Result<Vec<u8>> {
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result,
        }
    }

    fn replace_file(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let path = Path::new(path);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = folder.join(name);
        let written = write_through(&temporary, path, content).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        File::open(folder)?.sync_all()
    }
}

/// Writes a new file to the disk, with the permissions of the one that it will replace.
fn write_through(path: &Path, like: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    if let Ok(old) = fs::metadata(like) {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()
}

/// The number of KiB behind a name in one of the kernel's tables, in bytes; 0 when it cannot be read.
fn kib_line(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn cpu_time(who: UsageWho) -> CpuTime {
    let micros = |time: TimeVal| time.tv_sec().max(0).unsigned_abs() * 1_000_000 + time.tv_usec().max(0).unsigned_abs();
    let usage = |usage: Usage| CpuTime { user_us: micros(usage.user_time()), system_us: micros(usage.system_time()) };
    getrusage(who).map_or_else(|_| CpuTime::default(), usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        assert!(kib_line("/proc/self/status", "VmRSS:") > 1 << 20);
        assert!(kib_line("/proc/meminfo", "MemTotal:") > 1 << 24);
        assert_eq!(kib_line("/proc/self/status", "Nothing:"), 0);
        assert_eq!(kib_line("/proc/nothing", "VmRSS:"), 0);
    }
}
