//! From registers to a number: the improved estimator of Otmar Ertl, "New cardinality estimation algorithms for
//! HyperLogLog sketches" (arXiv:1702.01284), which Redis uses.

use super::{REGISTERS, RUN_BITS};

/// Half the inverse of the natural logarithm of 2: the limit of the estimator's factor for many registers.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many registers have each value.
pub(super) struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; 64])
    }
}

impl Histogram {
    /// `value` is below 64.
    pub(super) fn add(&mut self, value: u8, registers_count: u32) {
        self.0[usize::from(value)] += registers_count;
    }

    /// The steps are in Redis's order, so that the last bit of the number is the same.
    pub(super) fn estimate(&self) -> i64 {
        let m = REGISTERS as f64;
        let longest = RUN_BITS as usize + 1;
        let mut z = m * tau((m - f64::from(self.0[longest])) / m);
        for count in self.0[1..longest].iter().rev() {
            z += f64::from(*count);
            z *= 0.5;
        }
        z += m * sigma(f64::from(self.0[0]) / m);
        let estimate = (ALPHA * m * m / z).round();
        // Registers beyond what a hash can give: what Redis's conversion yields on x86.
        if estimate < i64::MAX as f64 { estimate as i64 } else { i64::MIN }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(values: &[(u8, u32)]) -> i64 {
        let mut histogram = Histogram::default();
        values.iter().for_each(|(value, count)| histogram.add(*value, *count));
        histogram.estimate()
    }

    #[test]
    fn the_ends_of_the_scale_are_numbers_too() {
        assert_eq!(estimate(&[(0, REGISTERS as u32)]), 0);
        assert_eq!(estimate(&[(0, REGISTERS as u32 - 1), (1, 1)]), 1);
        assert_eq!(estimate(&[(51, REGISTERS as u32)]), i64::MIN);
        assert_eq!(estimate(&[(63, REGISTERS as u32)]), i64::MIN);
        assert!(estimate(&[(20, REGISTERS as u32)]) > 1 << 30);
    }
}
