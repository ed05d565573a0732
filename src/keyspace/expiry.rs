//! Coarse expiries, by which whole buckets are skipped.

/// Milliseconds of one coarse unit: fine enough that a bucket is not visited again and again in vain while its
/// next key is about to expire.
const UNIT_MS: i64 = 256;
/// Unix milliseconds of the coarse zero (November 2023). Constant, because slots move between cores. With 32 bits
/// the units last until 2058; later expiries count as 2058, earlier ones as zero: only more visits.
const BASE_MS: i64 = 1_700_000_000_000;

/// No expiry.
pub(super) const NEVER: u32 = u32::MAX;

/// A lower bound of `expiry` (Unix milliseconds) in coarse units, never [`NEVER`].
pub(super) fn coarse(expiry: i64) -> u32 {
    let units = expiry.saturating_sub(BASE_MS).max(0) / UNIT_MS;
    u32::try_from(units).unwrap_or(NEVER).min(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_is_a_lower_bound_that_keeps_the_order() {
        let times = [i64::MIN, -1, 0, BASE_MS, BASE_MS + 255, BASE_MS + 256, 2_000_000_000_000, i64::MAX];
        assert!(times.map(coarse).is_sorted());
        assert_eq!(times.map(coarse)[..6], [0, 0, 0, 0, 0, 1]);
        assert_eq!(coarse(i64::MAX), NEVER - 1);
        for expiry in [BASE_MS + 1_234_567, 2_000_000_000_000] {
            assert!(BASE_MS + i64::from(coarse(expiry)) * UNIT_MS <= expiry);
        }
    }
}
