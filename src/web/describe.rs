//! [`Operation`]: an entry of the OpenAPI document. The types of a handler's argument and result
//! fill it in.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// The schemas that operations refer to. What is decoded and what is encoded differ in the members
/// that are always there.
#[derive(Debug)]
pub(crate) struct Schemas {
    decoded: SchemaGenerator,
    encoded: SchemaGenerator,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into());
        Self {
            decoded: settings.clone().for_deserialize().into_generator(),
            encoded: settings.for_serialize().into_generator(),
        }
    }

    /// The schema of a type that the gateway decodes.
    pub(crate) fn decoded<T: JsonSchema>(&mut self) -> Value {
        self.decoded.subschema_for::<T>().to_value()
    }

    /// The schema of a type that the gateway encodes.
    pub(crate) fn encoded<T: JsonSchema>(&mut self) -> Value {
        self.encoded.subschema_for::<T>().to_value()
    }

    /// The named schemas.
    pub(crate) fn into_definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.decoded.take_definitions(true);
        definitions.extend(self.encoded.take_definitions(true));
        definitions
    }
}

/// An operation of the OpenAPI document.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) schemas: &'a mut Schemas,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// By status, or `default`.
    responses: BTreeMap<String, Value>,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(schemas: &'a mut Schemas) -> Self {
        Self { schemas, parameters: Vec::new(), body: None, responses: BTreeMap::new() }
    }

    /// Declares a parameter of the path.
    pub(crate) fn path(&mut self, name: &str, schema: Value, description: &str) {
        self.parameters.push(json!({
            "in": "path", "name": name, "required": true, "schema": schema,
            "description": description,
        }));
        self.fails(&[400, 404]);
    }

    /// Declares a header that may be left out.
    pub(crate) fn header(&mut self, name: &str, schema: Value, description: &str) {
        self.parameters.push(json!({
            "in": "header", "name": name, "required": false, "schema": schema,
            "description": description,
        }));
    }

    /// Declares the fields of a type as parameters of the query.
    pub(crate) fn query<T: JsonSchema>(&mut self) {
        let schema = T::json_schema(&mut self.schemas.decoded);
        let required = schema.get("required").and_then(Value::as_array).cloned();
        let required = required.unwrap_or_default();
        let fields = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in fields.into_iter().flatten() {
            let (schema, description) = without_null(schema.clone());
            self.parameters.push(json!({
                "in": "query",
                "name": name,
                "required": required.iter().any(|required| required == name),
                "schema": schema,
                "description": description,
            }));
        }
        self.fails(&[400]);
    }

    /// Declares the JSON body.
    pub(crate) fn takes<T: JsonSchema>(&mut self, required: bool) {
        let schema = self.schemas.decoded.subschema_for::<T>();
        let content = json!({ "application/json": { "schema": schema } });
        self.body = Some(json!({ "required": required, "content": content }));
        self.fails(&[400, 408, 413, 415]);
    }

    /// Declares a JSON response; the type's documentation describes it.
    pub(crate) fn gives<T: JsonSchema>(&mut self, status: StatusCode) {
        let schema = self.schemas.encoded.subschema_for::<T>();
        let description = self.documentation(&schema);
        self.responds(status, &description, &[("application/json", schema.to_value())]);
    }

    /// Declares a response by its media types and their schemas.
    pub(crate) fn responds(
        &mut self,
        status: StatusCode,
        description: &str,
        content: &[(&str, Value)],
    ) {
        let content = content
            .iter()
            .map(|(media_type, schema)| ((*media_type).to_owned(), json!({ "schema": schema })));
        let content: Map<String, Value> = content.collect();
        let mut response = json!({
            "description": description,
            "headers": { "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } },
        });
        if !content.is_empty() {
            set(&mut response, "content", content.into());
        }
        self.responses.insert(status.as_str().to_owned(), response);
    }

    /// Declares another media type of a response that has been declared.
    pub(crate) fn also_gives(&mut self, status: StatusCode, media_type: &str, schema: Value) {
        let response = self.responses.get_mut(status.as_str());
        if let Some(content) = response.and_then(|response| response.get_mut("content")) {
            set(content, media_type, json!({ "schema": schema }));
        }
    }

    /// Declares a header of a response that has been declared.
    pub(crate) fn response_header(&mut self, status: StatusCode, name: &str, header: Value) {
        let response = self.responses.get_mut(status.as_str());
        if let Some(headers) = response.and_then(|response| response.get_mut("headers")) {
            set(headers, name, header);
        }
    }

    /// Declares statuses of problem documents.
    pub(crate) fn fails(&mut self, statuses: &[u16]) {
        for status in statuses {
            self.responses.entry(status.to_string()).or_insert_with(|| problem(*status));
        }
    }

    /// The operation as a value.
    pub(crate) fn into_value(self, id: &str, summary: &str, security: Value) -> Value {
        let mut operation = json!({ "operationId": id, "summary": summary, "security": security });
        if !self.parameters.is_empty() {
            set(&mut operation, "parameters", self.parameters.into());
        }
        if let Some(body) = self.body {
            set(&mut operation, "requestBody", body);
        }
        let mut responses: Map<String, Value> = self.responses.into_iter().collect();
        responses.insert("default".to_owned(), problem(500));
        set(&mut operation, "responses", responses.into());
        operation
    }

    /// The documentation of a type, by its schema.
    fn documentation(&self, schema: &Schema) -> String {
        let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
        let name = reference.rsplit('/').next().unwrap_or_default();
        let schema = self.schemas.encoded.definitions().get(name).unwrap_or(schema.as_value());
        let description = schema.get("description").and_then(Value::as_str);
        description.unwrap_or_default().to_owned()
    }
}

/// Problem documents: status, description, and a header beside `X-Request-Id`.
const PROBLEMS: [(u16, &str, Option<&str>); 16] = [
    (400, "The request is invalid; `detail` names the field and what it takes.", None),
    (401, "No known API key.", Some("WWW-Authenticate")),
    (403, "The operator does not permit it.", None),
    (404, "No such conversation or approval, or the conversation is in the archive.", None),
    (406, "`Accept` refuses every media type of the response.", None),
    (408, "The body did not arrive in time.", None),
    (409, "A turn is running on the conversation, or another one has its session's name.", None),
    (410, "The events are no longer kept.", None),
    (413, "The body or the prompt is too long.", None),
    (415, "The body is not `application/json` or `application/…+json`, in UTF-8.", None),
    (426, "The request is not a WebSocket handshake.", None),
    (
        429,
        "Too many connections are in use, or too many requests run or wait.",
        Some("Retry-After"),
    ),
    (500, "Another failure.", None),
    (502, "codex-core, the model or a tool server failed.", None),
    (503, "The gateway is shutting down, or full.", Some("Retry-After")),
    (507, "The disk is full: nothing can be stored.", Some("Retry-After")),
];

/// The problem documents as components, to which operations refer by their statuses.
pub(crate) fn problems() -> Map<String, Value> {
    let problems = PROBLEMS.into_iter().map(|(status, description, header)| {
        let headers = ["X-Request-Id"].into_iter().chain(header).map(|name| {
            (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
        });
        let headers: Map<String, Value> = headers.collect();
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let response = json!({
            "description": description,
            "headers": headers,
            "content": { "application/problem+json": { "schema": schema } },
        });
        (format!("Problem{status}"), response)
    });
    problems.collect()
}

fn problem(status: u16) -> Value {
    json!({ "$ref": format!("#/components/responses/Problem{status}") })
}

/// Returns the schema of a parameter, which cannot be null, of an optional field's, and its
/// description.
fn without_null(mut schema: Value) -> (Value, Value) {
    let Some(members) = schema.as_object_mut() else { return (schema, Value::Null) };
    let description = members.remove("description").unwrap_or_else(|| "".into());
    if members.get("default").is_some_and(Value::is_null) {
        members.remove("default");
    }
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [kind] = types.as_slice() {
            let kind = kind.clone();
            members.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(schemas)) = members.get_mut("anyOf") {
        schemas.retain(|schema| schema != &json!({ "type": "null" }));
        if let [schema] = schemas.as_slice() {
            return (schema.clone(), description);
        }
    }
    (schema, description)
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// Checks that every `$ref` of a document leads to a part of it.
#[cfg(test)]
pub(crate) fn assert_references_resolve(document: &Value) {
    fn walk(value: &Value, document: &Value) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        match value {
            Value::Array(values) => values.iter().for_each(|value| walk(value, document)),
            Value::Object(members) => members.values().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    walk(document, document);
}
