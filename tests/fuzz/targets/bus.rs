//! libFuzzer's entry to the check `bus`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::bus(data));
