//! libFuzzer's entry to the check `aof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::aof(data));
