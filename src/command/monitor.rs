//! MONITOR: a line for each command, to every client that asked for it, on whatever core it is.

use bytes::Bytes;

use super::core::{Core, Effect};
use super::execute::Call;
use super::spec::Flags;

/// Feeds one request, which the gate has let pass, to all monitors.
pub fn feed(core: &mut Core, index: u32, call: &Call<'_>) {
    let flags = call.command.spec().flags;
    if flags.has(Flags::SKIP_MONITOR) || flags.has(Flags::ADMIN) {
        return;
    }
    let line = Bytes::from(line(core, index, call));
    let pushes = core.monitors.iter().map(|to| Effect::Push { to: *to, bytes: line.clone() });
    core.effects.extend(pushes);
}

fn line(core: &Core, index: u32, call: &Call<'_>) -> Vec<u8> {
    let now_us = core.clock.unix_us();
    let peer = &core.clients[index as usize].peer;
    let peer = match peer {
        super::client::Endpoint::Unix(path) => format!("unix:{path}"),
        tcp => tcp.to_string(),
    };
    let mut line = format!("+{}.{:06} [{} {peer}]", now_us / 1_000_000, now_us % 1_000_000, call.caller.db).into_bytes();
    for argument in call.args.iter() {
        line.push(b' ');
        quote(argument, &mut line);
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// As Redis prints a string in quotes.
pub fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            other => out.extend_from_slice(format!("\\x{other:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}
