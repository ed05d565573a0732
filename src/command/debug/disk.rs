//! DEBUG DISK-FAULT, which Redis does not have: faults for the disk, so that tests see what the node makes of them.

use super::Context;
use crate::base::number::parse_i64;
use crate::command::arguments::is_word;
use crate::command::core::Effect;
use crate::command::error::CommandError;
use crate::command::persistence::append_only::{DiskFault, DiskOperation, FaultKind};
use crate::command::spec::Part;
use crate::resp::Args;

/// Largest error number of the system.
const ERRNO_MAX: i32 = 4095;

/// On every core: from now on its disk has this fault.
pub fn fault_part(cx: &mut Context<'_>, args: &Args<'_>) -> Result<Part, CommandError> {
    let fault = parse(args).ok_or(CommandError::Syntax)?;
    cx.core.effects.push(Effect::DiskFault(fault));
    Ok(Part::done())
}

fn parse(args: &Args<'_>) -> Option<DiskFault> {
    let operation = match args.get(2)? {
        word if is_word(word, "WRITE") => DiskOperation::Write,
        word if is_word(word, "FSYNC") => DiskOperation::Fsync,
        _ => return None,
    };
    let kind = match args.get(3)? {
        word if is_word(word, "SHORT") && operation == DiskOperation::Write => FaultKind::Short,
        word if is_word(word, "HOLD") && operation == DiskOperation::Fsync => FaultKind::Hold,
        word if is_word(word, "NONE") => FaultKind::None,
        number => {
            let number = i32::try_from(parse_i64(number)?).ok().filter(|number| (1..=ERRNO_MAX).contains(number))?;
            FaultKind::Error(number)
        }
    };
    let times = match args.get(4) {
        None => u32::MAX,
        Some(times) => u32::try_from(parse_i64(times)?).ok().filter(|times| *times > 0)?,
    };
    Some(DiskFault { operation, kind, times })
}
