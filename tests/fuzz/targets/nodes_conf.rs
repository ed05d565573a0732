//! libFuzzer's entry to the check `nodes_conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcore_fuzz::nodes_conf(data));
