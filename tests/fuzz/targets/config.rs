//! libFuzzer's entry to the check `config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::config(data));
