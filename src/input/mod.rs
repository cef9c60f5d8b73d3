//! What clients send, as typed values: JSON objects and queries, and the types of their members.
//!
//! - [`node`]: the deserializer. It takes objects for structs, names for enums and whole numbers for
//!   integers, and refuses unknown and repeated members.
//! - [`error`]: its errors: the member, what it takes, what it got.
//! - [`joined`]: two structs whose members share an object.
//! - [`whole`], [`text`], [`argument`], [`bytes`], [`image`], [`path`]: types of members that check and describe
//!   themselves, so that a schema and its parser cannot differ.

pub(crate) mod argument;
pub(crate) mod bytes;
mod error;
pub(crate) mod image;
pub(crate) mod joined;
mod node;
pub(crate) mod path;
pub(crate) mod text;
pub(crate) mod whole;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use self::node::Node;
use crate::error::Error;
use crate::error::Kind;

/// Decodes a JSON document.
///
/// # Errors
/// `InvalidJson` if it is not JSON; `InvalidRequest` names the member and what it takes.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    Ok(T::deserialize(Node::Json(well_formed(bytes)?))?)
}

/// Decodes the params of a call, well-formed JSON. `_meta` is the call's and not the method's, as in
/// MCP: the trace context is in it.
///
/// # Errors
/// `InvalidRequest` names the member and what it takes.
pub(crate) fn from_params<T: DeserializeOwned>(params: &RawValue) -> Result<T, Error> {
    let mut members = Node::Json(params.get()).members()?;
    members.retain(|(name, _)| name != "_meta");
    Ok(T::deserialize(Node::Members { members, also: &[] })?)
}

/// Decodes a value as its JSON text is decoded.
///
/// # Errors
/// `InvalidRequest` names the member and what it takes.
pub(crate) fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    from_json(value.to_string().as_bytes())
}

/// Decodes the parameters of a query. Of a parameter that is given twice, the last counts.
///
/// # Errors
/// `InvalidRequest` names the parameter and what it takes.
pub(crate) fn from_query<'a, T: DeserializeOwned>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Result<T, Error> {
    let mut members: Vec<(String, Node<'a>)> = Vec::new();
    for (name, value) in pairs {
        members.retain(|(earlier, _)| *earlier != name);
        members.push((name.into_owned(), Node::Text(value)));
    }
    Ok(T::deserialize(Node::Members { members, also: &[] })?)
}

/// Returns the text of a JSON document (RFC 8259), without the whitespace around it.
///
/// # Errors
/// `InvalidJson`.
pub(crate) fn well_formed(bytes: &[u8]) -> Result<&str, Error> {
    let not_json = |got: String| Error::new(Kind::InvalidJson, format!("expected JSON{got}"));
    if bytes.is_empty() {
        return Err(not_json(", got nothing; send an object".to_owned()));
    }
    match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(document) => Ok(document.get()),
        Err(error) => Err(not_json(format!(": {error}"))),
    }
}
