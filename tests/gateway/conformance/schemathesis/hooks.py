"""Checks each line of a stream of JSON lines; schemathesis itself validates whole bodies and SSE."""

import json

import jsonschema_rs
import schemathesis


@schemathesis.check
def json_lines(ctx, response, case):
    content_type = response.headers.get("content-type", [""])[0]
    if content_type not in ("application/x-ndjson", "application/jsonl"):
        return
    components = case.operation.schema.raw_schema["components"]
    event = jsonschema_rs.validator_for({"$ref": "#/components/schemas/Event", "components": components})
    for line in response.content.splitlines():
        try:
            event.validate(json.loads(line))
        except ValueError as error:
            raise AssertionError(f"not an event: {line[:200]}: {error}") from error
