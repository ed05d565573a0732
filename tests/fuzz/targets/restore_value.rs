//! libFuzzer's entry to the check `restore_value`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::restore_value(data));
