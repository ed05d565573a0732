//! libFuzzer's entry to the check `request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::request(data));
