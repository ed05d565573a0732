//! A large value that is being made for RESTORE, in slices between which the core serves others.
//!
//! The handler begins it and is run again, with the same request, when the value is there. Until then the key is on its way, as with
//! MIGRATE: it can be read as it was, and who writes it waits.

use super::super::client::Caller;
use super::super::core::Core;
use super::super::execute::Call;
use super::super::table::CommandId;
use crate::base::slot::Slot;
use crate::keyspace::LoadedValue;
use crate::persist::rdb::Sliced;
use crate::persist::rdb::payload::PayloadError;
use crate::resp::{Args, ArgsBuf};

/// A payload of so many bytes may be a value that is made in slices.
const PAYLOAD_BYTES_MIN: usize = 64 << 10;
/// Elements between two looks at the clock.
const STEP_ELEMENTS: usize = 128;

/// One value in the making.
pub struct Restore {
    command: CommandId,
    caller: Caller,
    slot: Option<Slot>,
    args: ArgsBuf,
    /// The place of the request among its client's.
    pub sequence: u32,
    /// None once the value is made.
    sliced: Option<Sliced>,
    made: Option<Result<LoadedValue<'static>, PayloadError>>,
}

/// A request that is run again.
pub struct Again {
    command: CommandId,
    caller: Caller,
    slot: Option<Slot>,
    args: ArgsBuf,
}

impl Again {
    pub fn as_call(&self) -> Call<'_> {
        Call { command: self.command, caller: self.caller, slot: self.slot, args: self.args.as_args() }
    }
}

/// Whether the value of this RESTORE may be made in slices: not where the next command must not wait for it.
pub fn may_be_sliced(caller: &Caller, args: &Args<'_>) -> bool {
    !caller.must_not_wait && args.get(3).is_some_and(|payload| payload.len() >= PAYLOAD_BYTES_MIN)
}

/// The same for a call of RESTORE.
pub fn is_sliced(call: &Call<'_>) -> bool {
    may_be_sliced(&call.caller, &call.args)
}

impl Restore {
    pub(super) fn new(call: &Call<'_>, sequence: u32, sliced: Sliced) -> Restore {
        Restore {
            command: call.command,
            caller: call.caller,
            slot: call.slot,
            args: ArgsBuf::from(&call.args),
            sequence,
            sliced: Some(sliced),
            made: None,
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        self.args.as_args().get(1).unwrap_or_default()
    }

    /// Goes on with the first of those in the making; the value itself when it is complete now. `None` when there is none.
    pub fn go_on(core: &mut Core) -> Option<Option<Restore>> {
        let migrations = &mut core.migrations;
        let (number, restore) = migrations.restores.iter_mut().next()?;
        let failed = |error: crate::persist::rdb::RdbError| PayloadError::Value(error.to_string());
        let made = match restore.sliced.as_mut()?.go_on(STEP_ELEMENTS) {
            Ok(true) => return Some(None),
            Ok(false) => restore.sliced.take()?.finish().map_err(failed),
            Err(error) => Err(failed(error)),
        };
        restore.made = Some(made);
        let restore = migrations.restores.remove(number);
        let key = restore.key().to_vec();
        migrations.unlock(&key);
        Some(Some(restore))
    }

    /// Lets the handler have the value that is made; the request that is to be run now. [`Restore::done`] follows.
    pub fn prepare(self, core: &mut Core) -> Again {
        core.migrations.set_made(self.made);
        super::super::blocking::look_again(core);
        Again { command: self.command, caller: self.caller, slot: self.slot, args: self.args }
    }

    /// The request has been run, or refused.
    pub fn done(core: &mut Core) {
        core.migrations.set_made(None);
    }
}
