//! [`Joined`]: two structs whose members share one object, such as a conversation's name and what to
//! do there. (`#[serde(flatten)]` would buffer the members and lose the rules of [`super::node`].)

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use serde::de::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::Deserializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::Value;
use serde_json::value::RawValue;

use super::node::Node;

/// A struct that lists its members.
pub(crate) trait Listed {
    /// The names of its members.
    const MEMBERS: &'static [&'static str];
}

/// The members of `A` and those of `B`, in one object.
#[derive(Debug)]
pub(crate) struct Joined<A, B>(pub(crate) A, pub(crate) B);

impl<'de, A: DeserializeOwned + Listed, B: DeserializeOwned> Deserialize<'de> for Joined<A, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Split(PhantomData))
    }
}

struct Split<A, B>(PhantomData<(A, B)>);

impl<'de, A: DeserializeOwned + Listed, B: DeserializeOwned> Visitor<'de> for Split<A, B> {
    type Value = Joined<A, B>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Joined<A, B>, M::Error> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            let half = if A::MEMBERS.contains(&name.as_str()) { &mut first } else { &mut second };
            half.push((name, Node::Json(value.get())));
        }
        let first = Node::Members { members: first, also: &[] };
        let second = Node::Members { members: second, also: A::MEMBERS };
        match (A::deserialize(first), B::deserialize(second)) {
            (Ok(first), Ok(second)) => Ok(Joined(first, second)),
            // Of two errors, one about a member that is there comes first.
            (Err(first), Err(second)) if !second.is_absence() => {
                Err(M::Error::custom(if first.is_absence() { second } else { first }))
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(M::Error::custom(error)),
        }
    }
}

impl<A: JsonSchema, B: JsonSchema> JsonSchema for Joined<A, B> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_{}", A::schema_name(), B::schema_name()).into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let (first, mut joined) = (A::json_schema(schemas), B::json_schema(schemas));
        for (keyword, value) in first.as_object().into_iter().flatten() {
            match (joined.get_mut(keyword), value) {
                (None, value) => {
                    joined.insert(keyword.clone(), value.clone());
                }
                (Some(Value::Object(properties)), Value::Object(more)) => {
                    properties.extend(more.clone());
                }
                (Some(Value::Array(names)), Value::Array(more)) => {
                    names.extend(more.iter().cloned());
                }
                // The second describes the whole.
                (Some(_), _) => {}
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::from_json;
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Place {
        place: Option<u8>,
    }

    impl Listed for Place {
        const MEMBERS: &'static [&'static str] = &["place"];
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Deed {
        deed: Vec<String>,
    }

    #[test]
    fn members_are_shared_out() {
        let decode = |text: &str| from_json::<Joined<Place, Deed>>(text.as_bytes());
        let Joined(Place { place }, Deed { deed }) = decode(r#"{"deed":["x"],"place":7}"#).unwrap();
        assert_eq!((place, deed), (Some(7), vec!["x".to_owned()]));
        for (text, says) in [
            (r#"{"deed":[1]}"#, "deed[0]: expected a string, got 1"),
            (r#"{"place":"x","deed":[]}"#, "place: expected a whole number"),
            (r#"{"place":1}"#, "deed: expected a value, got nothing"),
            (
                r#"{"Place":1,"deed":[]}"#,
                "Place: expected a known field, got an unknown one; did you mean place?",
            ),
            (r#"{"place":1,"place":1,"deed":[]}"#, "place: expected it once"),
            ("[]", "expected an object, got a list"),
        ] {
            let error = decode(text).unwrap_err().to_string();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    #[test]
    fn schema_has_the_members_of_both() {
        let schema = Joined::<Place, Deed>::json_schema(&mut SchemaGenerator::default());
        let properties = schema.get("properties").and_then(Value::as_object).unwrap();
        assert!(properties.contains_key("place") && properties.contains_key("deed"));
        assert_eq!(properties.len(), 2);
        assert_eq!(schema.get("required").unwrap(), &serde_json::json!(["deed"]));
        assert_eq!(schema.get("additionalProperties").unwrap(), &serde_json::json!(false));
    }
}
