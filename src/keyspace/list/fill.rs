//! How much one listpack of a list holds: what `list-max-listpack-size` means.

/// Limits of `list-max-listpack-size` from -1 to -5, in bytes; below -5 as -5.
const LEVELS_BYTES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];
/// Most bytes of a listpack whose elements are counted (Redis: SIZE_SAFETY_LIMIT).
const COUNTED_MAX_BYTES: usize = 8192;
/// Most elements that a node of a large list counts (Redis: FILL_MAX).
const NODE_COUNT_MAX: usize = 32767;

/// A limit in bytes or in elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fill {
    Bytes(usize),
    /// Elements, and COUNTED_MAX_BYTES where something is added.
    Count(usize),
}

impl Fill {
    /// That of the setting's default, -2.
    pub const DEFAULT: Fill = Fill::Bytes(LEVELS_BYTES[1]);

    /// The limit that the setting stands for: a level when negative, else elements, at least one.
    pub fn new(setting: i32) -> Fill {
        match usize::try_from(setting) {
            Ok(count) => Fill::Count(count.max(1)),
            Err(_) => {
                let level = usize::try_from(setting.unsigned_abs()).unwrap_or(usize::MAX);
                Fill::Bytes(LEVELS_BYTES[level.min(LEVELS_BYTES.len()) - 1])
            }
        }
    }

    /// The limit for the nodes of a large list.
    pub fn for_nodes(self) -> Fill {
        match self {
            Fill::Bytes(_) => self,
            Fill::Count(count) => Fill::Count(count.min(NODE_COUNT_MAX)),
        }
    }

    /// Half of it; of one element, none.
    pub fn half(self) -> Fill {
        match self {
            Fill::Bytes(bytes) => Fill::Bytes(bytes / 2),
            Fill::Count(count) => Fill::Count(count / 2),
        }
    }

    /// Whether a listpack that is to be so large is too large.
    #[inline]
    pub fn is_exceeded(self, bytes: usize, count: usize) -> bool {
        match self {
            Fill::Bytes(limit) => bytes > limit,
            Fill::Count(limit) => bytes > COUNTED_MAX_BYTES || count > limit,
        }
    }

    /// Whether a listpack that is there already may stay one: where elements are counted, bytes are not.
    pub fn holds(self, bytes: usize, count: usize) -> bool {
        match self {
            Fill::Bytes(limit) => bytes <= limit,
            Fill::Count(limit) => count <= limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_settings_are_levels_of_bytes() {
        for (setting, bytes) in [(-1, 4096), (-2, 8192), (-5, 65536), (-6, 65536), (i32::MIN, 65536)] {
            assert_eq!(Fill::new(setting), Fill::Bytes(bytes), "{setting}");
        }
    }

    #[test]
    fn other_settings_count_elements_and_bound_their_bytes() {
        assert_eq!(Fill::new(0), Fill::Count(1));
        assert_eq!(Fill::new(i32::MAX).for_nodes(), Fill::Count(32767));
        let fill = Fill::new(3);
        assert!(!fill.is_exceeded(8192, 3));
        assert!(fill.is_exceeded(8193, 1));
        assert!(fill.is_exceeded(10, 4));
        assert!(fill.holds(1 << 20, 3));
        assert!(!fill.half().holds(10, 2));
    }
}
