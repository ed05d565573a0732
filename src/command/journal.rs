//! The journal of one core: what it has changed, as commands that bring about the same change when they are run again.
//!
//! The way of a change: a handler changes keys; when it is done `execute` records its request, or what the handler said in
//! place of it (EXPIRE becomes PEXPIREAT, SPOP becomes SREM: what depends on the time, on chance or on who waits is
//! written as what it came to). Keys that expire or are evicted are recorded as DEL or UNLINK, before the command that met
//! them. All that one request, one transaction or one piece of background work has recorded is a *unit*, which is
//! applied whole or not at all: several commands stand between MULTI and EXEC. At the end of a turn the runtime takes
//! the bytes: for the append-only file of this core, and later for the log of replicas.
//!
//! The bytes are requests as a client would send them (RESP arrays), with a SELECT where the database changes: the format of
//! Redis's append-only file and of its replication stream.
//!
//! A *position* counts the bytes that this core has ever recorded. A reply that must not leave before its change is safe waits
//! for the position that the journal had when its unit was closed.
//!
//! While nobody reads the journal, nothing is recorded.

/// Bytes of a buffer that is kept when what it held was taken.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What one core has changed and nobody has taken yet.
#[derive(Default)]
pub struct Journal {
    on: bool,
    bytes: Vec<u8>,
    /// The position of the end of `bytes`.
    position: u64,
    /// The database that readers have selected at the end of `bytes`.
    db: Option<u16>,
    /// Where in `bytes` the unit under way begins, and how many commands it has.
    unit_begin: usize,
    unit_commands: usize,
}

impl Journal {
    /// Whether changes are to be recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Begins or ends recording. What follows begins with a SELECT.
    pub fn set_on(&mut self, on: bool) {
        assert!(self.unit_commands == 0, "recording begins and ends between units");
        self.on = on;
        self.restart();
    }

    /// What follows is for a reader that has not read what came before (a new file).
    pub fn restart(&mut self) {
        self.db = None;
    }

    /// Bytes recorded since the start of the node.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds a command, its name first, to the unit under way.
    pub fn record<'a>(&mut self, db: u16, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        if self.db != Some(db) {
            self.db = Some(db);
            let number = db.to_string();
            write_command(&mut self.bytes, [&b"SELECT"[..], number.as_bytes()].into_iter());
        }
        write_command(&mut self.bytes, words);
        self.unit_commands += 1;
    }

    /// Ends the unit under way, if there is one.
    #[inline]
    pub fn close_unit(&mut self) {
        if self.unit_commands > 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.unit_commands > 1 {
            // Rare: most units are one command. SELECT stands behind MULTI, as in Redis.
            let mut multi = Vec::new();
            write_command(&mut multi, [&b"MULTI"[..]].into_iter());
            self.bytes.splice(self.unit_begin..self.unit_begin, multi);
            write_command(&mut self.bytes, [&b"EXEC"[..]].into_iter());
        }
        self.position += (self.bytes.len() - self.unit_begin) as u64;
        self.unit_begin = self.bytes.len();
        self.unit_commands = 0;
    }

    /// Whether there is something to take.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.unit_begin == 0
    }

    /// Appends what was recorded since the last time to `into`.
    ///
    /// # Panics
    /// Within a unit: it is taken whole.
    pub fn take_into(&mut self, into: &mut Vec<u8>) {
        assert!(self.unit_commands == 0, "a unit is taken whole");
        if into.is_empty() {
            std::mem::swap(into, &mut self.bytes);
        } else {
            into.extend_from_slice(&self.bytes);
        }
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.unit_begin = 0;
    }
}

/// `*<count>\r\n`, then `$<length>\r\n<bytes>\r\n` for each word.
fn write_command<'a>(into: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut digits = itoa::Buffer::new();
    let mut number = |into: &mut Vec<u8>, mark: u8, number: usize| {
        into.push(mark);
        into.extend_from_slice(digits.format(number).as_bytes());
        into.extend_from_slice(b"\r\n");
    };
    number(into, b'*', words.len());
    for word in words {
        number(into, b'$', word.len());
        into.extend_from_slice(word);
        into.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(journal: &mut Journal, db: u16, line: &str) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        journal.record(db, words.into_iter());
    }

    /// The recorded commands, one a line.
    fn taken(journal: &mut Journal) -> Vec<String> {
        let mut bytes = Vec::new();
        journal.take_into(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let commands = text.split('*').skip(1);
        commands.map(|command| command.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_unit_of_several_commands_is_a_transaction() {
        let mut journal = Journal::default();
        journal.set_on(true);
        record(&mut journal, 0, "SET a 1");
        journal.close_unit();
        record(&mut journal, 0, "DEL a");
        record(&mut journal, 3, "SET b 2");
        journal.close_unit();
        journal.close_unit();
        assert_eq!(taken(&mut journal), ["SELECT 0", "SET a 1", "MULTI", "DEL a", "SELECT 3", "SET b 2", "EXEC"]);
        assert!(journal.is_empty());
    }

    #[test]
    fn positions_count_every_byte_once() {
        let mut journal = Journal::default();
        journal.set_on(true);
        let mut all = Vec::new();
        for number in 0..10 {
            record(&mut journal, 0, "SET a 1");
            journal.close_unit();
            if number % 3 == 0 {
                journal.take_into(&mut all);
            }
        }
        journal.take_into(&mut all);
        assert_eq!(journal.position(), all.len() as u64);
    }

    #[test]
    fn a_new_file_begins_with_select() {
        let mut journal = Journal::default();
        journal.set_on(true);
        for _ in 0..2 {
            record(&mut journal, 5, "SET a 1");
            journal.close_unit();
            assert_eq!(taken(&mut journal), ["SELECT 5", "SET a 1"]);
            journal.restart();
        }
    }
}
