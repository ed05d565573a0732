//! Keys with a time to live that clients of a replica have set, which they may where `replica-read-only` is no.
//!
//! What the primary has written expires when the primary says so. Of these it knows nothing: without a look of this node's own
//! they would be hidden when their time is over, and stay.

use hashbrown::HashSet;

use crate::command::attention;
use crate::command::core::Core;
use crate::command::execute::Call;
use crate::command::gate;
use crate::keyspace::Key;

/// Keys that are looked at in one tick.
const LOOKS_PER_TICK: usize = 1000;

/// The keys of one core that clients of a replica have given a time to live.
#[derive(Default)]
pub struct OwnExpiries {
    keys: HashSet<(u16, Box<[u8]>)>,
    /// Those that the present round has still to look at.
    round: Vec<(u16, Box<[u8]>)>,
}

impl OwnExpiries {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// A client of a replica has written.
#[cold]
pub fn written(core: &mut Core, call: &Call<'_>) {
    let db = call.caller.db;
    let Core { keyspace, own_expiries, .. } = core;
    // What could not be found is in no key either.
    let _ = gate::for_each_key(call.command.spec(), &call.args, &mut |key| {
        if keyspace.peek_info(usize::from(db), Key::new(key)).is_some_and(|info| info.expiry.is_some()) {
            own_expiries.keys.insert((db, key.into()));
        }
        Ok(())
    });
}

/// Removes those whose time is over, a part of them at each tick.
pub fn expire(core: &mut Core) {
    if core.own_expiries.is_empty() || core.pause.until(core.clock.unix()).is_some() {
        return;
    }
    if !core.replication.role.is_replica() {
        // From now on they expire like all others.
        core.own_expiries = OwnExpiries::default();
        return;
    }
    if core.own_expiries.round.is_empty() {
        core.own_expiries.round = core.own_expiries.keys.iter().cloned().collect();
    }
    core.keyspace.set_clock(core.clock.unix(), false);
    for _ in 0..LOOKS_PER_TICK {
        let Some((db, key)) = core.own_expiries.round.pop() else { break };
        let found = core.keyspace.peek_info(usize::from(db), Key::new(&key));
        if found.is_none_or(|info| info.expiry.is_none()) {
            core.own_expiries.keys.remove(&(db, key));
        }
    }
    core.keyspace.set_clock(core.clock.unix(), true);
    attention::settle_apart(core);
}
