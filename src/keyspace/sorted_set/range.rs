//! Ranges of sorted sets, by score and by the members' bytes. Plain values: parsing them is the commands' affair.

/// Scores between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: f64,
    pub max: f64,
    /// The bound itself is left out.
    pub min_exclusive: bool,
    pub max_exclusive: bool,
}

impl ScoreRange {
    /// Both bounds belong to it.
    pub fn closed(min: f64, max: f64) -> ScoreRange {
        ScoreRange { min, max, min_exclusive: false, max_exclusive: false }
    }

    #[inline]
    pub fn is_above_min(&self, score: f64) -> bool {
        if self.min_exclusive { score > self.min } else { score >= self.min }
    }

    #[inline]
    pub fn is_below_max(&self, score: f64) -> bool {
        if self.max_exclusive { score < self.max } else { score <= self.max }
    }

    /// Whether no score can be in it.
    pub fn is_empty(&self) -> bool {
        self.min > self.max || (self.min == self.max && (self.min_exclusive || self.max_exclusive))
    }
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Below every member (`-`).
    Lowest,
    /// Above every member (`+`).
    Highest,
    /// With the bound itself (`[`).
    Inclusive(&'a [u8]),
    /// Without the bound itself (`(`).
    Exclusive(&'a [u8]),
}

/// Members between two bounds; meant for sorted sets whose scores are all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    #[inline]
    pub fn is_above_min(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Inclusive(bound) => member >= bound,
            LexBound::Exclusive(bound) => member > bound,
        }
    }

    #[inline]
    pub fn is_below_max(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Inclusive(bound) => member <= bound,
            LexBound::Exclusive(bound) => member < bound,
        }
    }

    /// Whether no member can be in it.
    pub fn is_empty(&self) -> bool {
        use LexBound::*;
        match (self.min, self.max) {
            (Highest, _) | (_, Lowest) => true,
            (Lowest, _) | (_, Highest) => false,
            (Inclusive(min), Inclusive(max)) => min > max,
            (Inclusive(min) | Exclusive(min), Inclusive(max) | Exclusive(max)) => min >= max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_whose_ends_cross_or_touch_openly_is_empty() {
        let range = |min, max, min_exclusive, max_exclusive| ScoreRange { min, max, min_exclusive, max_exclusive };
        assert!(range(2.0, 1.0, false, false).is_empty());
        assert!(range(1.0, 1.0, true, false).is_empty());
        assert!(range(-0.0, 0.0, false, true).is_empty());
        assert!(!ScoreRange::closed(1.0, 1.0).is_empty());
        let lex = |min, max| LexRange { min, max }.is_empty();
        assert!(!lex(LexBound::Inclusive(b"a"), LexBound::Inclusive(b"a")));
        assert!(lex(LexBound::Inclusive(b"a"), LexBound::Exclusive(b"a")));
        assert!(lex(LexBound::Lowest, LexBound::Lowest) && lex(LexBound::Highest, LexBound::Highest));
        assert!(!lex(LexBound::Lowest, LexBound::Highest));
    }
}
