//! Answers of the `chat` wire, in any form and in any pieces.
#![no_main]

use codex_gateway_fuzz::check;
use codex_gateway_fuzz::request;
use libfuzzer_sys::fuzz_target;
use wires::Wire;
use wires::chat::Chat;

fuzz_target!(|data: &[u8]| check(data, || Chat.decoder(&request(), "p")));
