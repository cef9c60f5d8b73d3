//! Templates of paths (`/api/v1/conversations/{id}`), matched segment by segment, and the types of
//! their parameters.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::api::approvals::ApprovalId;
use crate::conversation::id::ConversationId;
use crate::error::Error;
use crate::web::describe::Operation;

/// Returns the values of a template's parameters, percent-decoded and not empty, if the path has its
/// shape. Slashes count: a proxy that guards `/metrics` does not guard `//metrics` or `/metrics/`.
pub(super) fn matches<'a>(template: &str, path: &'a str) -> Option<Vec<Cow<'a, str>>> {
    let mut segments = path.split('/');
    let mut values = Vec::new();
    for expected in template.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            values.push(percent_decode_str(segment).decode_utf8_lossy());
        } else if segment != expected {
            return None;
        }
    }
    segments.next().is_none().then_some(values)
}

/// A parameter of a path.
pub(super) trait PathParameter: Sized {
    /// Adds it to the description of the operation.
    fn describe(name: &str, operation: &mut Operation<'_>);

    /// # Errors
    /// `InvalidRequest` names the parameter where the segment is not such a one.
    fn parse(name: &str, segment: &str) -> Result<Self, Error>;
}

impl PathParameter for ConversationId {
    fn describe(name: &str, operation: &mut Operation<'_>) {
        let schema = operation.schemas.decoded::<Self>();
        operation.path(name, schema, "The conversation.");
    }

    fn parse(name: &str, segment: &str) -> Result<Self, Error> {
        Self::parse(segment).map_err(|error| error.at_field(name))
    }
}

impl PathParameter for ApprovalId {
    fn describe(name: &str, operation: &mut Operation<'_>) {
        let schema = operation.schemas.decoded::<Self>();
        operation.path(name, schema, "The pending approval.");
    }

    fn parse(name: &str, segment: &str) -> Result<Self, Error> {
        Self::try_from(segment.to_owned()).map_err(|error| error.at_field(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_matches_shape_and_decodes_parameters() {
        for (template, path, expected) in [
            ("/exec", "/exec", Some(vec![])),
            ("/exec", "/exec/", None),
            ("/exec", "//exec", None),
            ("/exec", "exec", None),
            ("/exec", "/exec/x", None),
            ("/a/{id}", "/a/7", Some(vec!["7"])),
            ("/a/{id}", "/a", None),
            ("/a/{id}", "/a/", None),
            ("/a/{id}/b", "/a/x%3Ay/b", Some(vec!["x:y"])),
            ("/a/{id}/b", "/a/7/c", None),
        ] {
            let values = matches(template, path);
            let values = values.as_ref().map(|values| values.iter().map(|one| &**one).collect());
            assert_eq!(values, expected, "{template} {path}");
        }
    }
}
