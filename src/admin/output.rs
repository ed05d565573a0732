//! What the user sees: lines and tables on standard output, errors on standard error, one line that shows progress, and a
//! question.
//!
//! A reader that goes away (`| head`) is no reason to stop: what cannot be written is left out.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines of progress where they cannot be rewritten.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

pub struct Output {
    is_terminal: bool,
    /// What is being waited for.
    stage: String,
    /// The cursor stands behind a line of progress.
    is_line_open: bool,
    told_at: Instant,
}

impl Output {
    pub fn new() -> Output {
        let is_terminal = io::stdout().is_terminal();
        Output { is_terminal, stage: String::new(), is_line_open: false, told_at: Instant::now() }
    }

    /// A line, or several.
    pub fn line(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A line of any bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.close_line();
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    }

    /// Something that the user should know and that does not end the command.
    pub fn warning(&mut self, line: &str) {
        self.complain("warning", line);
    }

    pub fn error(&mut self, line: &str) {
        self.complain("error", line);
    }

    fn complain(&mut self, kind: &str, line: &str) {
        self.close_line();
        let _ = writeln!(io::stderr(), "{kind}: {line}");
    }

    /// Something begins that takes a while.
    pub fn begin(&mut self, stage: &str) {
        stage.clone_into(&mut self.stage);
        if self.is_terminal {
            self.rewrite(stage);
        } else {
            self.line(stage);
        }
        self.told_at = Instant::now();
    }

    /// How far what has begun has come: at once on a terminal, now and then elsewhere.
    pub fn progress(&mut self, detail: &str) {
        let text = format!("{}: {detail}", self.stage);
        if self.is_terminal {
            self.rewrite(&text);
        } else if self.told_at.elapsed() >= PLAIN_INTERVAL {
            self.told_at = Instant::now();
            self.line(&text);
        }
    }

    /// As `progress`, with a bar: `done` of 1. Nothing is behind it but the detail where there is no terminal.
    pub fn bar(&mut self, done: f64, detail: &str) {
        if self.is_terminal {
            self.rewrite(&format!("[{}] {detail}", bar(done)));
        } else {
            self.progress(detail);
        }
    }

    /// Asks for a line on standard input. `None` at its end.
    pub fn question(&mut self, question: &str) -> Option<String> {
        self.close_line();
        let mut out = io::stdout().lock();
        let _ = write!(out, "{question} ").and_then(|()| out.flush());
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer).unwrap_or(0);
        if !answer.ends_with('\n') {
            let _ = writeln!(out);
        }
        (read > 0).then(|| answer.trim().to_owned())
    }

    /// Puts `text` in the place of the line of progress.
    fn rewrite(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        // Back to the line's beginning, and clear to its end.
        let _ = write!(out, "\r{text}\x1b[K").and_then(|()| out.flush());
        self.is_line_open = true;
    }

    fn close_line(&mut self) {
        if std::mem::take(&mut self.is_line_open) {
            let _ = writeln!(io::stdout());
        }
    }

    /// Asks for `yes` on standard input; everything else, its end too, is no.
    pub fn ask(&mut self, question: &str) -> bool {
        self.close_line();
        let mut out = io::stdout().lock();
        let _ = write!(out, "{question} (type 'yes' to accept): ").and_then(|()| out.flush());
        let mut answer = String::new();
        let answered = io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes";
        if !answer.ends_with('\n') {
            let _ = writeln!(out);
        }
        answered
    }
}

/// Columns as wide as their widest cell, two blanks apart. Numbers stand to the right where a column has nothing else.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let column = |number: usize| rows.iter().map(move |row| row.get(number).map_or("", String::as_str));
    let widths: Vec<(usize, bool)> = head
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let widest = column(number).map(|cell| cell.chars().count()).max().unwrap_or(0);
            let is_number = |cell: &str| cell == "-" || cell.bytes().all(|byte| byte.is_ascii_digit());
            (widest.max(name.chars().count()), column(number).all(is_number))
        })
        .collect();
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let lines =
        std::iter::once(&head).chain(rows).map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, (width, is_number))| {
                if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// So many characters a bar has.
const BAR_LEN: usize = 30;

fn bar(done: f64) -> String {
    let full = (done.clamp(0.0, 1.0) * BAR_LEN as f64) as usize;
    "#".repeat(full) + &".".repeat(BAR_LEN - full)
}

/// `42 s`, `3 min 20 s`, `2 h 5 min`; nothing below a second is told but of the first ones.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..=9 => format!("{:.1} s", seconds.max(0.0)),
        10..=59 => format!("{whole} s"),
        60..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 slot`, `2 slots`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let rows = [["a", "7", "-"], ["longer", "123", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&["Node", "N", "Last"], &rows), "Node      N  Last\na         7  -\nlonger  123  x");
    }

    #[test]
    fn bars_and_durations_are_readable() {
        assert_eq!(bar(0.5), format!("{}{}", "#".repeat(15), ".".repeat(15)));
        assert_eq!((bar(-1.0).len(), bar(7.0)), (BAR_LEN, "#".repeat(BAR_LEN)));
        let durations = [0.04, 42.7, 200.0, 7500.0, -3.0].map(duration);
        assert_eq!(durations, ["0.0 s", "42 s", "3 min 20 s", "2 h 5 min", "0.0 s"]);
    }

    #[test]
    fn counts_have_their_noun() {
        assert_eq!([count(0, "node"), count(1, "node"), count(2, "node")], ["0 nodes", "1 node", "2 nodes"]);
    }
}
