#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::fuzzing::policy_in_yaml(data));
