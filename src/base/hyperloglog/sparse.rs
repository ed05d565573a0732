//! Registers as runs of equal values, for HyperLogLogs with few elements.
//!
//! ```text
//! 00nnnnnn              n + 1 registers of 0
//! 01nnnnnn nnnnnnnn     n + 1 registers of 0
//! 1vvvvvnn              n + 1 registers of v + 1
//! ```
//! Which runs are split and joined follows Redis step by step: the bytes are compared with those of a redis-server.

use std::ops::Range;

use super::{Damaged, HEADER_BYTES, REGISTERS, forget_count};

const ZEROS_MAX: usize = 64;
const VALUE_MAX: u8 = 32;
const VALUE_RUN_MAX: usize = 4;
/// Runs looked at for neighbours to join after a change, from the one before it on.
const JOIN_RUNS_MAX: usize = 5;

/// One run over all registers.
pub(super) const EMPTY: [u8; 2] = long_zeros(REGISTERS);

const fn long_zeros(count: usize) -> [u8; 2] {
    let [high, low] = (count as u16 - 1).to_be_bytes();
    [high | 0x40, low]
}

/// A run as it is written.
#[derive(Clone, Copy)]
struct Run {
    /// 0 for zeros of either form.
    value: u8,
    /// Registers.
    len: usize,
    /// Bytes: 1 or 2.
    size: usize,
}

impl Run {
    /// The run at this place; None at the end. A second byte that is missing counts as 0.
    fn at(bytes: &[u8], at: usize) -> Option<Run> {
        let byte = *bytes.get(at)?;
        Some(match byte >> 6 {
            0 => Run { value: 0, len: usize::from(byte) + 1, size: 1 },
            1 => {
                let low = bytes.get(at + 1);
                let len = usize::from(byte & 0x3f) << 8 | usize::from(low.copied().unwrap_or(0));
                Run { value: 0, len: len + 1, size: 1 + usize::from(low.is_some()) }
            }
            _ => Run { value: (byte >> 2 & 0x1f) + 1, len: usize::from(byte & 3) + 1, size: 1 },
        })
    }

    const fn value_byte(value: u8, len: usize) -> u8 {
        0x80 | (value - 1) << 2 | (len as u8 - 1)
    }
}

/// The runs that take the place of one: at most two long runs of zeros around one value.
#[derive(Default)]
struct Split {
    bytes: [u8; 5],
    len: usize,
}

impl Split {
    fn push(&mut self, value: u8, run_len: usize) {
        if run_len == 0 {
            return;
        }
        if value > 0 {
            self.push_byte(Run::value_byte(value, run_len));
        } else if run_len > ZEROS_MAX {
            long_zeros(run_len).into_iter().for_each(|byte| self.push_byte(byte));
        } else {
            self.push_byte(run_len as u8 - 1);
        }
    }

    fn push_byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

/// What came of raising a register.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// Whether it was lower.
    Done(bool),
    /// The value, or the bytes, do not fit the sparse form: nothing was changed.
    NoRoom,
}

/// Raises a register of the HyperLogLog `bytes`, header included.
///
/// # Errors
/// `Damaged`: no run covers the register, and nothing was changed.
pub(super) fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, max_bytes: u64) -> Result<Raised, Damaged> {
    if value > VALUE_MAX {
        return Ok(Raised::NoRoom);
    }
    let (mut at, mut first, mut before) = (HEADER_BYTES, 0, None);
    let run = loop {
        let run = Run::at(bytes, at).ok_or(Damaged)?;
        if index < first + run.len {
            break run;
        }
        before = Some(at);
        at += run.size;
        first += run.len;
    };
    if run.value >= value {
        return Ok(Raised::Done(false));
    }
    if run.len == 1 && run.size == 1 {
        bytes[at] = Run::value_byte(value, 1);
    } else {
        let mut split = Split::default();
        split.push(run.value, index - first);
        split.push(value, 1);
        split.push(run.value, first + run.len - 1 - index);
        let len = bytes.len() - run.size + split.len;
        if len > bytes.len() && len as u64 > max_bytes {
            return Ok(Raised::NoRoom);
        }
        bytes.splice(at..at + run.size, split.bytes[..split.len].iter().copied());
    }
    join(bytes, before.unwrap_or(HEADER_BYTES));
    forget_count(bytes);
    Ok(Raised::Done(true))
}

/// Joins neighbouring runs of one value, from the run at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_RUNS_MAX {
        let Some(run) = Run::at(bytes, at) else { return };
        match Run::at(bytes, at + 1) {
            Some(next) if run.value > 0 && next.value == run.value && run.len + next.len <= VALUE_RUN_MAX => {
                bytes[at] = Run::value_byte(run.value, run.len + next.len);
                bytes.remove(at + 1);
            }
            _ => at += run.size,
        }
    }
}

/// Calls `visit` with the registers and the value of each run.
///
/// # Errors
/// `Damaged` when they are not all registers; `visit` may have been called for some.
pub(super) fn for_each_run(runs: &[u8], mut visit: impl FnMut(Range<usize>, u8)) -> Result<(), Damaged> {
    let (mut at, mut first) = (0, 0);
    while let Some(run) = Run::at(runs, at) {
        let end = first + run.len;
        if end > REGISTERS {
            return Err(Damaged);
        }
        visit(first..end, run.value);
        first = end;
        at += run.size;
    }
    if first == REGISTERS { Ok(()) } else { Err(Damaged) }
}

/// `z:` and `Z:` are zeros in one and two bytes, `v:` a value and how many of it. Damaged ones are described too.
pub(super) fn describe(runs: &[u8]) -> String {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(run) = Run::at(runs, at) {
        let is_long = runs[at] >> 6 == 1;
        words.push(match run.value {
            0 if is_long => format!("Z:{}", run.len),
            0 => format!("z:{}", run.len),
            value => format!("v:{value},{}", run.len),
        });
        at += run.size;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: u64 = 1 << 20;

    /// Raises the registers one after another and shows the runs.
    fn raised(changes: &[(usize, u8)]) -> String {
        let mut bytes = super::super::empty();
        for (index, value) in changes {
            raise(&mut bytes, *index, *value, ROOMY).unwrap();
        }
        describe(&bytes[HEADER_BYTES..])
    }

    #[test]
    fn zeros_are_split_around_a_value() {
        assert_eq!(raised(&[]), "Z:16384");
        assert_eq!(raised(&[(0, 3)]), "v:3,1 Z:16383");
        assert_eq!(raised(&[(16383, 3)]), "Z:16383 v:3,1");
        assert_eq!(raised(&[(64, 3)]), "z:64 v:3,1 Z:16319");
        assert_eq!(raised(&[(65, 3)]), "Z:65 v:3,1 Z:16318");
        assert_eq!(raised(&[(10, 1), (12, 2), (11, 9)]), "z:10 v:1,1 v:9,1 v:2,1 Z:16371");
    }

    #[test]
    fn equal_values_join_up_to_four() {
        assert_eq!(raised(&[(0, 3), (1, 3)]), "v:3,2 Z:16382");
        assert_eq!(raised(&[(0, 3), (1, 3), (2, 3), (3, 3)]), "v:3,4 Z:16380");
        assert_eq!(raised(&[(0, 3), (1, 3), (2, 3), (3, 3), (4, 3)]), "v:3,4 v:3,1 Z:16379");
        assert_eq!(raised(&[(0, 3), (2, 3), (1, 3)]), "v:3,3 Z:16381");
    }

    #[test]
    fn a_run_of_values_is_split_by_a_greater_one() {
        let four = [(0, 3), (1, 3), (2, 3), (3, 3)];
        let with = |change| raised(&[&four[..], &[change]].concat());
        assert_eq!(with((0, 5)), "v:5,1 v:3,3 Z:16380");
        assert_eq!(with((2, 5)), "v:3,2 v:5,1 v:3,1 Z:16380");
        assert_eq!(with((3, 5)), "v:3,3 v:5,1 Z:16380");
        assert_eq!(with((2, 3)), "v:3,4 Z:16380");
        assert_eq!(with((2, 1)), "v:3,4 Z:16380");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut bytes = super::super::empty();
        let before = bytes.clone();
        assert_eq!(raise(&mut bytes, 5, VALUE_MAX + 1, ROOMY), Ok(Raised::NoRoom));
        assert_eq!(raise(&mut bytes, 5, 1, before.len() as u64 + 1), Ok(Raised::NoRoom));
        assert_eq!(bytes, before);
        assert_eq!(raise(&mut bytes, 5, VALUE_MAX, before.len() as u64 + 2), Ok(Raised::Done(true)));
        assert_eq!(raise(&mut bytes, 5, 31, 0), Ok(Raised::Done(false)));
    }

    #[test]
    fn runs_that_do_not_cover_all_registers_are_damaged() {
        let damaged = |runs: &[u8]| for_each_run(runs, |_, _| ()).is_err();
        assert!(!damaged(&EMPTY));
        assert!(damaged(&[]));
        assert!(damaged(&EMPTY[..1]));
        assert!(damaged(&[EMPTY[0], EMPTY[1], 0]));
        assert!(damaged(&[0x7f, 0xfe]));
        assert!(damaged(&[0xff; 5000]));
    }
}
