#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::MODULE_INDEX.check(data));
