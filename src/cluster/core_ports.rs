//! The ports of a node's cores, and which of them is nearest to a slot: what clients are told of it where it has them.
//!
//! A node makes it of its own table of slots (`of`) whenever it is asked, and tells it to its kin on the bus. It is small because most
//! slots are where the default table has them; those that have moved are listed.

use std::collections::BTreeMap;

use super::view::{STRIPE_SLOTS, SlotOwners};
use crate::base::core_id::CoreId;
use crate::base::slot::{SLOTS_COUNT, Slot};
use crate::config::Config;

/// The first core's port lies so far above the port for clients, unless core-port-base says otherwise.
const BASE_OFFSET: u16 = 100;
/// Moved slots that others are told of, at most: of the rest they name the core that had them by default, and that core forwards. It
/// keeps pings small.
pub const MOVED_TOLD_MAX: usize = 2048;

/// A node's core ports: `base` + the core's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePorts {
    base: u16,
    cores_count: u8,
    /// The slots that are not where the default table has them.
    moved: BTreeMap<Slot, CoreId>,
}

impl CorePorts {
    /// The port of the first core, where cores have ports: they need a cluster, whose clients can be told of them, and where none is named,
    /// a port for clients beside which they stand.
    pub fn base_of(config: &Config) -> Option<u16> {
        if !config.core_ports || !config.cluster_enabled {
            return None;
        }
        match (config.core_port_base, config.port) {
            (0, 0) => None,
            (0, port) => Some(port.saturating_add(BASE_OFFSET)),
            (base, _) => Some(base),
        }
    }

    /// The ports as the configuration has them, with the slots as they lie now. None without core ports.
    pub fn of(config: &Config, cores_count: usize, owners: &SlotOwners) -> Option<CorePorts> {
        let mut ports = CorePorts::checked(CorePorts::base_of(config)?, cores_count)?;
        // By whole stripes: this is done ten times a second.
        let stripes = (0..SLOTS_COUNT as u16).step_by(STRIPE_SLOTS).zip((0..cores_count).cycle().map(CoreId::new));
        for (first, by_default) in stripes {
            let slots = (first..first + STRIPE_SLOTS as u16).map(Slot::new).map(|slot| (slot, owners.owner(slot)));
            ports.moved.extend(slots.filter(|(_, owner)| *owner != by_default));
        }
        Some(ports)
    }

    /// The ports of so many cores, all slots lying as they do by default. None where there are no such ports.
    pub fn checked(base: u16, cores_count: usize) -> Option<CorePorts> {
        let is_core_count = (1..=CoreId::COUNT_MAX).contains(&cores_count);
        let last = is_core_count.then(|| base.checked_add(cores_count as u16 - 1)).flatten();
        (base != 0 && last.is_some()).then_some(CorePorts {
            base,
            cores_count: cores_count as u8,
            moved: BTreeMap::new(),
        })
    }

    /// Says of a slot that another core has it. False when there is no such core.
    pub fn note_moved(&mut self, slot: Slot, core: usize) -> bool {
        let is_core = core < usize::from(self.cores_count);
        if is_core {
            self.moved.insert(slot, CoreId::new(core));
        }
        is_core
    }

    pub fn base(&self) -> u16 {
        self.base
    }

    pub fn cores_count(&self) -> usize {
        usize::from(self.cores_count)
    }

    pub fn moved(&self) -> &BTreeMap<Slot, CoreId> {
        &self.moved
    }

    /// The port of the core that has the slot.
    pub fn port(&self, slot: Slot) -> u16 {
        let owner = self.moved.get(&slot).copied();
        let owner = owner.unwrap_or_else(|| default_owner(slot, usize::from(self.cores_count)));
        // The last core has a port, as was checked.
        self.base + owner.index() as u16
    }
}

fn default_owner(slot: Slot, cores_count: usize) -> CoreId {
    CoreId::new(slot.index() / STRIPE_SLOTS % cores_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(base: u16) -> Config {
        Config { core_ports: true, cluster_enabled: true, port: 7000, core_port_base: base, ..Config::default() }
    }

    #[test]
    fn a_slot_has_the_port_of_the_core_that_owns_it() {
        for cores_count in [1, 2, 3, 128] {
            let owners = SlotOwners::striped(cores_count);
            let ports = CorePorts::of(&config(0), cores_count, &owners).unwrap();
            assert!(ports.moved().is_empty());
            assert!(Slot::all().all(|slot| usize::from(ports.port(slot)) == 7100 + owners.owner(slot).index()));
        }
        let ports = CorePorts::of(&config(9000), 2, &SlotOwners::all_first()).unwrap();
        assert_eq!(ports.moved().len(), 8192);
        assert!(Slot::all().all(|slot| ports.port(slot) == 9000));
    }

    #[test]
    fn there_are_no_ports_beyond_the_last() {
        assert!(CorePorts::checked(65535, 1).is_some());
        assert!(CorePorts::checked(65535, 2).is_none());
        assert!(CorePorts::checked(0, 1).is_none());
        assert!(CorePorts::checked(7000, 0).is_none());
        assert!(CorePorts::checked(7000, 129).is_none());
        assert!(!CorePorts::checked(7000, 2).unwrap().note_moved(Slot::new(0), 2));
    }

    #[test]
    fn core_ports_are_asked_for_and_need_a_cluster() {
        assert_eq!(CorePorts::base_of(&config(0)), Some(7100));
        assert_eq!(CorePorts::base_of(&Config { core_ports: false, ..config(1) }), None);
        assert_eq!(CorePorts::base_of(&Config { cluster_enabled: false, ..config(1) }), None);
    }
}
