//! Doubles to decimal digits by Grisu2 (Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with
//! Integers", 2010).
//!
//! Called by `number::format_double` only. Redis 7.2 prints doubles with this algorithm, which finds digits that read back
//! as the same double, but in about one case of a thousand not the shortest or not the closest ones. Replies must show
//! the same digits, hence this and not one of the newer algorithms, which are always right.

/// `fraction * 2^exponent`.
#[derive(Clone, Copy)]
struct Float {
    fraction: u64,
    exponent: i32,
}

/// The bit above the stored fraction of a normal double.
const HIDDEN_BIT: u64 = 1 << 52;
/// What the exponent field of a double has added to it when the fraction counts as an integer.
const EXPONENT_BIAS: i32 = 1023 + 52;

/// 10^`POWER_FIRST`, 10^(`POWER_FIRST` + `POWER_STEP`), ... as the 64 bits from the highest one on, rounded.
static POWERS: [u64; 87] = [
    0xFA8F_D5A0_081C_0288,
    0xBAAE_E17F_A23E_BF76,
    0x8B16_FB20_3055_AC76,
    0xCF42_894A_5DCE_35EA,
    0x9A6B_B0AA_5565_3B2D,
    0xE61A_CF03_3D1A_45DF,
    0xAB70_FE17_C79A_C6CA,
    0xFF77_B1FC_BEBC_DC4F,
    0xBE56_91EF_416B_D60C,
    0x8DD0_1FAD_907F_FC3C,
    0xD351_5C28_3155_9A83,
    0x9D71_AC8F_ADA6_C9B5,
    0xEA9C_2277_23EE_8BCB,
    0xAECC_4991_4078_536D,
    0x823C_1279_5DB6_CE57,
    0xC210_9436_4DFB_5637,
    0x9096_EA6F_3848_984F,
    0xD774_85CB_2582_3AC7,
    0xA086_CFCD_97BF_97F4,
    0xEF34_0A98_172A_ACE5,
    0xB238_67FB_2A35_B28E,
    0x84C8_D4DF_D2C6_3F3B,
    0xC5DD_4427_1AD3_CDBA,
    0x936B_9FCE_BB25_C996,
    0xDBAC_6C24_7D62_A584,
    0xA3AB_6658_0D5F_DAF6,
    0xF3E2_F893_DEC3_F126,
    0xB5B5_ADA8_AAFF_80B8,
    0x8762_5F05_6C7C_4A8B,
    0xC9BC_FF60_34C1_3053,
    0x964E_858C_91BA_2655,
    0xDFF9_7724_7029_7EBD,
    0xA6DF_BD9F_B8E5_B88F,
    0xF8A9_5FCF_8874_7D94,
    0xB944_7093_8FA8_9BCF,
    0x8A08_F0F8_BF0F_156B,
    0xCDB0_2555_6531_31B6,
    0x993F_E2C6_D07B_7FAC,
    0xE45C_10C4_2A2B_3B06,
    0xAA24_2499_6973_92D3,
    0xFD87_B5F2_8300_CA0E,
    0xBCE5_0864_9211_1AEB,
    0x8CBC_CC09_6F50_88CC,
    0xD1B7_1758_E219_652C,
    0x9C40_0000_0000_0000,
    0xE8D4_A510_0000_0000,
    0xAD78_EBC5_AC62_0000,
    0x813F_3978_F894_0984,
    0xC097_CE7B_C907_15B3,
    0x8F7E_32CE_7BEA_5C70,
    0xD5D2_38A4_ABE9_8068,
    0x9F4F_2726_179A_2245,
    0xED63_A231_D4C4_FB27,
    0xB0DE_6538_8CC8_ADA8,
    0x83C7_088E_1AAB_65DB,
    0xC45D_1DF9_4271_1D9A,
    0x924D_692C_A61B_E758,
    0xDA01_EE64_1A70_8DEA,
    0xA26D_A399_9AEF_774A,
    0xF209_787B_B47D_6B85,
    0xB454_E4A1_79DD_1877,
    0x865B_8692_5B9B_C5C2,
    0xC835_53C5_C896_5D3D,
    0x952A_B45C_FA97_A0B3,
    0xDE46_9FBD_99A0_5FE3,
    0xA59B_C234_DB39_8C25,
    0xF6C6_9A72_A398_9F5C,
    0xB7DC_BF53_54E9_BECE,
    0x88FC_F317_F222_41E2,
    0xCC20_CE9B_D35C_78A5,
    0x9816_5AF3_7B21_53DF,
    0xE2A0_B5DC_971F_303A,
    0xA8D9_D153_5CE3_B396,
    0xFB9B_7CD9_A4A7_443C,
    0xBB76_4C4C_A7A4_4410,
    0x8BAB_8EEF_B640_9C1A,
    0xD01F_EF10_A657_842C,
    0x9B10_A4E5_E991_3129,
    0xE710_9BFB_A19C_0C9D,
    0xAC28_20D9_623B_F429,
    0x8044_4B5E_7AA7_CF85,
    0xBF21_E440_03AC_DD2D,
    0x8E67_9C2F_5E44_FF8F,
    0xD433_179D_9C8C_B841,
    0x9E19_DB92_B4E3_1BA9,
    0xEB96_BF6E_BADF_77D9,
    0xAF87_023B_9BF0_EE6B,
];
const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;

/// The powers of ten that fit `u32`.
const TENS: [u32; 10] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

/// Decimal digits, most significant first, without leading zeros: the number is `digits * 10^scale`.
pub struct Digits {
    digits: [u8; 20],
    count: usize,
    pub scale: i32,
}

impl Digits {
    /// The digits as ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.count]
    }

    fn push(&mut self, digit: u64) {
        if digit != 0 || self.count > 0 {
            self.digits[self.count] = b'0' + digit as u8;
            self.count += 1;
        }
    }

    /// Lowers the last digit while that comes closer to the value and stays inside the bounds: `rest` is how far the digits
    /// are below the upper bound, `target` how far the value is, `range` how far the lower bound, all in units of
    /// which the last digit's step has `step`.
    fn round(&mut self, range: u64, mut rest: u64, step: u64, target: u64) {
        let Some(last) = self.count.checked_sub(1) else {
            return;
        };
        while rest < target && range - rest >= step && (rest + step < target || target - rest > rest + step - target) {
            self.digits[last] -= 1;
            rest += step;
        }
    }
}

/// The digits that stock Redis shows for a positive finite double.
pub fn digits_of(value: f64) -> Digits {
    let value = Float::from_bits(value.to_bits());
    let (lower, upper) = value.bounds();
    let (power, scale) = power_for(upper.exponent);
    let upper = upper.times(power);
    let mut lower = lower.times(power);
    // Both products may be off by one: step inside.
    lower.fraction += 1;
    let upper = Float { fraction: upper.fraction - 1, ..upper };
    generate(value.normalized().times(power), lower, upper, -scale)
}

impl Float {
    fn from_bits(bits: u64) -> Float {
        let (fraction, exponent) = (bits & (HIDDEN_BIT - 1), (bits >> 52 & 0x7FF) as i32);
        match exponent {
            0 => Float { fraction, exponent: 1 - EXPONENT_BIAS },
            _ => Float { fraction: fraction | HIDDEN_BIT, exponent: exponent - EXPONENT_BIAS },
        }
    }

    fn normalized(self) -> Float {
        let shift = self.fraction.leading_zeros();
        Float { fraction: self.fraction << shift, exponent: self.exponent - shift.cast_signed() }
    }

    /// The middles between this number and its neighbours, both with the upper one's normalized exponent.
    fn bounds(self) -> (Float, Float) {
        let upper = Float { fraction: (self.fraction << 1) + 1, exponent: self.exponent - 1 }.normalized();
        // Below a power of two the doubles lie twice as close.
        let shift = if self.fraction == HIDDEN_BIT { 2 } else { 1 };
        let (fraction, exponent) = ((self.fraction << shift) - 1, self.exponent - shift);
        let lower = Float { fraction: fraction << (exponent - upper.exponent), exponent: upper.exponent };
        (lower, upper)
    }

    /// The product, rounded to 64 bits.
    fn times(self, other: Float) -> Float {
        let product = u128::from(self.fraction) * u128::from(other.fraction);
        Float { fraction: ((product + (1 << 63)) >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// A power of ten that takes `exponent` to -60..=-32, and its exponent to the base ten. More than one may: where the
/// search begins decides, and is stock's.
fn power_for(exponent: i32) -> (Float, i32) {
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    let estimate = (f64::from(-(exponent + POWERS.len() as i32)) * LOG10_OF_2) as i32;
    let mut index = ((estimate - POWER_FIRST) / POWER_STEP).clamp(0, POWERS.len() as i32 - 1);
    loop {
        let scale = POWER_FIRST + index * POWER_STEP;
        let power = Float { fraction: POWERS[index as usize], exponent: power_exponent(scale) };
        match exponent + power.exponent + 64 {
            ..-60 => index += 1,
            -31.. => index -= 1,
            _ => return (power, scale),
        }
    }
}

/// The weight of the lowest of the 64 bits of 10^`scale`: 217706 / 2^16 is the logarithm of ten to the base two.
const fn power_exponent(scale: i32) -> i32 {
    ((scale * 217_706) >> 16) - 63
}

/// Digits of `upper` until what is left is within the bounds, then moved towards `value`. All three have one exponent,
/// -60..=-32.
fn generate(value: Float, lower: Float, upper: Float, scale: i32) -> Digits {
    let mut digits = Digits { digits: [0; 20], count: 0, scale };
    let shift = (-upper.exponent).cast_unsigned();
    let one = 1u64 << shift;
    let mut target = upper.fraction - value.fraction;
    let mut range = upper.fraction - lower.fraction;
    let mut whole = upper.fraction >> shift;
    let mut part = upper.fraction & (one - 1);
    for (place, ten) in TENS.into_iter().enumerate() {
        let ten = u64::from(ten);
        digits.push(whole / ten);
        whole %= ten;
        let rest = (whole << shift) + part;
        if rest <= range {
            digits.scale += (TENS.len() - 1 - place) as i32;
            digits.round(range, rest, ten << shift, target);
            return digits;
        }
    }
    // The range grows tenfold a turn and stays below `one` until the last: at most 19 turns.
    loop {
        part *= 10;
        range *= 10;
        target *= 10;
        digits.scale -= 1;
        digits.push(part >> shift);
        part &= one - 1;
        if part < range {
            digits.round(range, part, one, target);
            return digits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::long_double::LongDouble;
    use super::*;
    use proptest::prelude::*;

    fn shown(value: f64) -> String {
        let digits = digits_of(value);
        format!("{}e{}", std::str::from_utf8(digits.as_bytes()).unwrap(), digits.scale)
    }

    #[test]
    fn powers_are_the_rounded_ones() {
        for (scale, fraction) in (POWER_FIRST..).step_by(POWER_STEP as usize).zip(POWERS) {
            let exact = LongDouble::parse(format!("1e{scale}").as_bytes()).unwrap();
            assert_eq!(exact.parts(), Some((fraction, power_exponent(scale))), "{scale}");
        }
    }

    #[test]
    fn digits_are_stocks_where_they_are_not_the_best() {
        assert_eq!(shown(1e126), "9999999999999999e110");
        assert_eq!(shown(3206.5770129), "32065770129000002e-13");
        assert_eq!(shown(0.1), "1e-1");
        assert_eq!(shown(5e-324), "5e-324");
        assert_eq!(shown(f64::MAX), "17976931348623157e292");
        assert_eq!(shown(f64::MIN_POSITIVE), "22250738585072014e-324");
    }

    proptest! {
        #[test]
        fn digits_read_back(bits in 1u64..0x7FF0_0000_0000_0000) {
            let value = f64::from_bits(bits);
            prop_assert_eq!(shown(value).parse::<f64>().unwrap(), value);
        }
    }
}
