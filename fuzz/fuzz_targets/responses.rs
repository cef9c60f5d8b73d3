//! Answers of the `responses` wire, in any form and in any pieces.
#![no_main]

use codex_gateway_fuzz::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check(data, wires::responses::decoder));
