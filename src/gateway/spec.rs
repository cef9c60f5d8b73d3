//! A row of the table of routes, as [`super::openapi`] and tests read it.

use crate::access::Access;
use crate::web::describe::Operation;

/// The description of a route.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The name of the route: its `operationId`, capitalised.
    pub name: &'static str,
    /// The method.
    pub method: &'static str,
    /// The path, with `{parameters}`.
    pub template: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Describes its parameters, body and responses.
    pub(super) describe: fn(&mut Operation<'_>),
}

impl Spec {
    /// The methods that it answers: HEAD wherever GET (RFC 9110, section 9.3.2).
    pub fn methods(&self) -> &'static [&'static str] {
        match self.method {
            "GET" => &["GET", "HEAD"],
            "POST" => &["POST"],
            "DELETE" => &["DELETE"],
            _ => &[],
        }
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}
