//! libFuzzer's entry to the check `numbers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::numbers(data));
