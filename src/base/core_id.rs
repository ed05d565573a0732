//! The number of a core within its node.

/// A core of this node: 0 is the first, which also owns what there is once per node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CoreId(u8);

impl CoreId {
    /// The core that owns configuration, cluster state and the bus.
    pub const FIRST: CoreId = CoreId(0);
    /// Most cores of one node; a core's number fits a byte in the slot map.
    pub const COUNT_MAX: usize = 128;

    /// # Panics
    /// When `index` is not below `COUNT_MAX`: the caller counts cores, not clients.
    pub fn new(index: usize) -> CoreId {
        assert!(index < CoreId::COUNT_MAX);
        CoreId(index as u8)
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
