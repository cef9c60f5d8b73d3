//! Whatever a server may send: no panic, and one end, in any pieces.

use proptest::prelude::*;

use super::*;

/// Bytes of real bodies of all wires, in pieces, and bytes of none.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just("data: "),
        Just("event: error\n"),
        Just("\n\n"),
        Just("\r\n"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just("<html><title>x</title>"),
        Just("[DONE]"),
        Just(r#""error":{"message":"m","code":429}"#),
        Just(r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#),
        Just(r#"{"choices":[{"index":0,"message":{"content":"a"}}]}"#),
        Just(r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"shell","arguments":"{}"}}]},"finish_reason":"stop"}]}"#),
        Just(r#"{"type":"message_start","message":{"id":"m"}}"#),
        Just(r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"shell","input":{}}}"#),
        Just(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"t"}}"#),
        Just(r#"{"type":"content_block_stop","index":0}"#),
        Just(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#),
        Just(r#"{"type":"message","content":[{"type":"thinking","thinking":"h"}],"stop_reason":"end_turn"}"#),
        Just(r#"{"candidates":[{"content":{"parts":[{"text":"t"}]},"finishReason":"STOP"}]}"#),
        Just(r#"{"type":"response.output_item.done","item":{"type":"message","content":[]}}"#),
        Just(r#"{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":1}}}"#),
        Just(r#"{"object":"response","output":[{"type":"message"}],"status":"incomplete"}"#),
    ]
    .prop_map(|text| text.as_bytes().to_vec());
    let events = token.clone().prop_map(|token| [b"data: ", &token[..], b"\n\n"].concat());
    let garbage = prop::collection::vec(any::<u8>(), 0..6);
    prop::collection::vec(prop_oneof![6 => events, 3 => token, 1 => garbage], 0..16)
        .prop_map(|pieces| pieces.concat())
}

/// What happened, without the ids that every answer makes anew.
fn outline(
    result: &(Vec<Event>, Result<Vec<Event>, WireError>),
) -> (Vec<String>, Option<WireError>) {
    let names = result.0.iter().map(|event| event.name().to_owned()).collect();
    (names, result.1.as_ref().err().cloned())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_body_ends_once_in_any_pieces(body in body(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let split: Vec<&[u8]> = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect();
        for wire in WIRES {
            let whole = pieces(wire, &[&body]);
            let ends = whole.0.iter().filter(|event| event.is_last()).count();
            match &whole.1 {
                Ok(events) => {
                    prop_assert_eq!(ends, 1, "{}", wire);
                    prop_assert!(events.last().is_some_and(Event::is_last), "{}", wire);
                }
                Err(error) => {
                    prop_assert_eq!(ends, 0, "{}", wire);
                    prop_assert!(!error.message.is_empty());
                }
            }
            prop_assert_eq!(outline(&pieces(wire, &split)), outline(&whole), "{}", wire);
        }
    }

    #[test]
    fn every_error_body_has_words(status in 400_u16..600, body in body()) {
        for wire in [&Chat as &dyn Wire, &Anthropic, &Gemini] {
            let error = wire.error(status, &body);
            prop_assert!(error.message.contains(&status.to_string()), "{}", error.message);
        }
        prop_assert!(!responses::error(status, &body).message.is_empty());
    }
}
