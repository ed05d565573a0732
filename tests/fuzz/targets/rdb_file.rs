//! libFuzzer's entry to the check `rdb_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::rdb_file(data));
