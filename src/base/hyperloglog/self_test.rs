//! PFSELFTEST: are registers kept apart, do both forms agree, is the error what it should be?

use super::{DENSE_BYTES, Encoding, HEADER_BYTES, REGISTERS, add, count, dense, empty, make_dense, place};
use crate::base::random::Random;

const ROUNDS: u32 = 1000;
const ELEMENTS: u64 = 10_000_000;

/// Takes seconds.
///
/// # Errors
/// What went wrong.
pub fn self_test(random: &mut Random, sparse_max_bytes: u64) -> Result<(), String> {
    registers_are_apart(random)?;
    counts_are_right(random, sparse_max_bytes)
}

fn registers_are_apart(random: &mut Random) -> Result<(), String> {
    let mut packed = vec![0; DENSE_BYTES - HEADER_BYTES];
    let mut expected = vec![0; REGISTERS];
    for _ in 0..ROUNDS {
        for (index, value) in expected.iter_mut().enumerate() {
            *value = random.next_u32() as u8 & 63;
            dense::set(&mut packed, index, *value);
        }
        for (index, expected) in expected.iter().enumerate() {
            let found = dense::get(&packed, index);
            if found != *expected {
                return Err(format!("Register {index} should be {expected} but is {found}"));
            }
        }
    }
    Ok(())
}

/// Adds elements to both forms and looks at them after 1, 10, 100 and so on.
fn counts_are_right(random: &mut Random, sparse_max_bytes: u64) -> Result<(), String> {
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let mut sparse = empty();
    let mut dense = empty();
    let broken = |_| "damaged by adding".to_owned();
    make_dense(&mut dense).map_err(broken)?;
    let seed = random.next_u64();
    let mut checkpoint = 1;
    for added in 1..=ELEMENTS {
        let element = (added ^ seed).to_le_bytes();
        let (index, value) = place(&element);
        dense::raise(&mut dense[HEADER_BYTES..], index, value);
        add(&mut sparse, &element, sparse_max_bytes).map_err(broken)?;
        if added != checkpoint {
            continue;
        }
        if added < sparse_max_bytes / 2 && Encoding::of(&sparse) != Some(Encoding::Sparse) {
            return Err("sparse encoding not used".to_owned());
        }
        let counted = count(&dense).map_err(broken)?;
        if count(&sparse).map_err(broken)? != counted {
            return Err("dense/sparse disagree".to_owned());
        }
        let error = counted.abs_diff(added as i64);
        // Six standard errors; two of ten elements may well meet in one register.
        let margin = if added == 10 { 1 } else { (standard_error * 6.0 * added as f64).ceil() as u64 };
        if error > margin {
            return Err(format!("Too big error. card:{added} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}
