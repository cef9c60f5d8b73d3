"""Checks /openapi.json and rpc.discover against the published schemas of OpenAPI 3.1 and OpenRPC 1.3.

openrpc-1.3.2.json is the meta-schema of OpenRPC from the npm package @open-rpc/meta-schema 1.14.9
(Apache-2.0); openapi-spec-validator contains that of OpenAPI. Broken copies of both documents show
that the checks can fail.
"""

import copy
import json
import os
import pathlib

import jsonschema
import jsonschema_specifications
import openapi_spec_validator
import referencing
import requests

URL = os.environ["GATEWAY_URL"]


def refuses(check, document):
    try:
        check(document)
    except Exception:
        return True
    return False


openapi = requests.get(URL + "/openapi.json", timeout=60)
openapi.raise_for_status()
openapi = openapi.json()
openapi_spec_validator.validate(openapi, cls=openapi_spec_validator.OpenAPIV31SpecValidator)
for broken in (
    lambda document: document["info"].pop("title"),
    lambda document: document["paths"]["/exec"]["post"].update(responses=7),
    lambda document: document["paths"]["/api/v1/conversations/{id}"]["get"].pop("parameters"),
):
    document = copy.deepcopy(openapi)
    broken(document)
    assert refuses(
        lambda document: openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV31SpecValidator),
        document,
    ), "a broken document passed"

discovered = requests.post(
    URL + "/jsonrpc",
    headers={"X-API-Key": os.environ["GATEWAY_KEY"]},
    json={"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"},
    timeout=60,
).json()["result"]
schema = json.loads(pathlib.Path(__file__).with_name("openrpc-1.3.2.json").read_text())
# Its external reference: JSON Schema draft 7 under another name.
draft = referencing.Resource.from_contents(
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [{"$ref": "http://json-schema.org/draft-07/schema#"}],
        "definitions": {"JSONSchemaObject": {"properties": {"$ref": {"type": "string"}}}},
    }
)
registry = jsonschema_specifications.REGISTRY.with_resources(
    [("https://meta.json-schema.tools", draft), ("https://meta.json-schema.tools/", draft)]
)
validator = jsonschema.Draft7Validator(schema, registry=registry)
validator.validate(discovered)
for broken in (
    lambda document: document["methods"][0].pop("params"),
    lambda document: document["methods"][0].update(params=[{"name": "x", "schema": {"type": 7}}]),
    lambda document: document.update(openrpc="9"),
):
    document = copy.deepcopy(discovered)
    broken(document)
    assert refuses(validator.validate, document), "a broken document passed"
print(json.dumps({"paths": sorted(openapi["paths"]), "methods": [one["name"] for one in discovered["methods"]]}))
