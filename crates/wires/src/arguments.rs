//! Arguments of a call, joined from the fragments of a stream.

use std::borrow::Cow;

use serde_json::Value;

/// Returns arguments without what servers put around them: a placeholder before the first fragment
/// (`{}`, `null`, `""`), the same object again at the end, or a string around the object.
pub(crate) fn repaired(arguments: &str) -> Cow<'_, str> {
    // The usual case costs one pass.
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::String(inner)) => return unwrapped(&inner).unwrap_or(arguments.into()),
        Ok(_) => return arguments.into(),
        Err(_) => {}
    }
    let values = serde_json::Deserializer::from_str(arguments).into_iter::<Value>();
    let Ok(values) = values.collect::<Result<Vec<Value>, _>>() else { return arguments.into() };
    let mut told = values.into_iter().filter(|value| !is_placeholder(value));
    match (told.next(), told.next()) {
        (Some(only @ Value::Object(_)), None) => only.to_string().into(),
        (Some(one @ Value::Object(_)), Some(other)) if one == other && told.next().is_none() => {
            one.to_string().into()
        }
        _ => arguments.into(),
    }
}

fn unwrapped(inner: &str) -> Option<Cow<'static, str>> {
    let is_object = serde_json::from_str::<Value>(inner).is_ok_and(|inner| inner.is_object());
    is_object.then(|| inner.to_owned().into())
}

/// Whether a value stands for arguments that are still to come.
fn is_placeholder(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_around_arguments_are_dropped() {
        let whole = r#"{"command":["ls"]}"#;
        for (arguments, expected) in [
            (r#"{}{"command":["ls"]}"#, whole),
            (r#"null{"command":["ls"]}"#, whole),
            (r#"""{"command":["ls"]}"#, whole),
            (r#"{"command":["ls"]}{}"#, whole),
            (r#"{"command":["ls"]}{"command":["ls"]}"#, whole),
            (r#""{\"command\":[\"ls\"]}""#, whole),
            (whole, whole),
            ("{}", "{}"),
            ("", ""),
            (r#""text""#, r#""text""#),
            (r#"{"a":1}{"a":2}"#, r#"{"a":1}{"a":2}"#),
            (r#"{}{"a":"#, r#"{}{"a":"#),
            (r#"{ "a" : 1 }"#, r#"{ "a" : 1 }"#),
        ] {
            assert_eq!(repaired(arguments), expected, "{arguments}");
        }
    }
}
