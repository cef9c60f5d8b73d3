"""Validates recorded requests against the request types of the official SDKs.

The types of `openai` and `anthropic` are TypedDicts for type checkers: at run time, pydantic would ignore
unknown keys and leave every `Iterable` unread. So their pydantic schema is made strict first.
`google-genai` has its own models; accepted values are sent through the SDK, and must come out
unchanged.
"""

import functools
import json
import warnings

import pydantic
import pydantic_core
from pydantic.alias_generators import to_camel
from reasons import brief
from reasons import explained

KEY = "test-key"
BYTES = (".thoughtSignature", ".inlineData.data")
THOUGHTS = {"reasoning": str, "reasoning_content": str, "reasoning_details": list}


class Refused(Exception):
    """The defect of a request: its place and reason."""


def check(wire, request):
    """`request` is `{"path", "beta", "body"}`; raises Refused."""
    WIRES[wire](request)


def responses(request):
    expect_path(request, "/v1/responses")
    from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

    validate(ResponseCreateParamsStreaming, as_core_sends(request["body"]))


def as_core_sends(body):
    """Adapts only the differences between core's own requests, which the gateway forwards unchanged, and
    the SDK's types."""
    body = json.loads(json.dumps(body))
    for item in body["input"]:
        kind = item.get("type")
        if kind == "message" and item["role"] == "assistant":
            # The types require a complete message; core keeps only the text.
            item.setdefault("status", "completed")
            for part in item["content"]:
                if part["type"] == "output_text":
                    part.setdefault("annotations", [])
        elif kind == "message":
            # Core numbers its own messages.
            item.pop("id", None)
        elif kind == "custom_tool_call":
            # The API gives such calls a status, which the types lack.
            item.pop("status", None)
        elif kind == "reasoning" and item.get("content", ...) is None:
            del item["content"]
    return body


def chat(request):
    expect_path(request, "/v1/chat/completions")
    from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

    validate(CompletionCreateParamsStreaming, without_thoughts(request["body"]))


def without_thoughts(body):
    """Removes reasoning, which OpenAI's types lack; OpenRouter, vLLM and others expect it back."""
    body = json.loads(json.dumps(body))
    for at, message in enumerate(body["messages"]):
        for member, type_ in THOUGHTS.items() if message["role"] == "assistant" else ():
            if not isinstance(message.pop(member, type_()), type_):
                raise Refused(f"body.messages.{at}.{member}: expected a {type_.__name__}")
    return body


def anthropic(request):
    expect_path(request, "/v1/messages")
    if request["beta"]:
        from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming
    else:
        from anthropic.types.message_create_params import MessageCreateParamsStreaming

    validate(MessageCreateParamsStreaming, request["body"])


def gemini(request):
    from google.genai import types

    body = dict(request["body"])
    model = request["path"].removeprefix("/v1beta/models/").removesuffix(
        ":streamGenerateContent?alt=sse"
    )
    expect_path(request, f"/v1beta/models/{model}:streamGenerateContent?alt=sse")
    contents = body.pop("contents", None)
    config = dict(body.pop("generationConfig", {}))
    for beside in ("systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent"):
        if beside in body:
            config[beside] = body.pop(beside)
    if body:
        raise Refused(f"{next(iter(body))}: no such member")
    # The SDK only warns about unknown values of an enum.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            contents = camel_case(list[types.Content], contents, "contents")
            config = camel_case(types.GenerateContentConfig, config, "config")
            sent = through_the_sdk(model, contents, config)
        except (UserWarning, ValueError) as error:
            raise Refused(str(error)) from error
    compare(request["body"], sent, "body")


def camel_case(type_, value, place):
    try:
        return pydantic.TypeAdapter(type_).validate_python(
            value, extra="forbid", by_alias=True, by_name=False
        )
    except pydantic.ValidationError as error:
        raise Refused(explained(error, place)) from error


def through_the_sdk(model, contents, config):
    """Returns the body that `google-genai` sends for this."""
    import httpx2
    from google import genai

    sent = []

    def keep(request):
        sent.append(json.loads(request.content))
        return httpx2.Response(200, content=b"", headers={"content-type": "text/event-stream"})

    options = genai.types.HttpOptions(
        base_url="http://127.0.0.1",
        api_version="v1beta",
        client_args={"transport": httpx2.MockTransport(keep)},
    )
    client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
    for _ in client.models.generate_content_stream(model=model, contents=contents, config=config):
        pass
    return sent[0]


def compare(ours, theirs, place):
    """Checks that two bodies are equivalent."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        # The SDK writes some members in snake case; the API accepts both.
        theirs = {key if key in ours else to_camel(key): value for key, value in theirs.items()}
        for key in ours.keys() | theirs.keys():
            if key not in theirs or key not in ours:
                who = "the SDK does not send this" if key in ours else "only the SDK sends this"
                raise Refused(f"{place}.{key}: {who}")
            compare(ours[key], theirs[key], f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for at, (one, other) in enumerate(zip(ours, theirs)):
            compare(one, other, f"{place}.{at}")
    elif place.endswith(BYTES) and isinstance(ours, str):
        # The API accepts both alphabets of base64; the SDK writes the other one.
        if ours != theirs.translate(str.maketrans("-_", "+/")) and ours != theirs:
            raise Refused(f"{place}: {brief(ours)} where the SDK sends {brief(theirs)}")
    elif ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
        raise Refused(f"{place}: {brief(ours)} where the SDK sends {brief(theirs)}")


def expect_path(request, path):
    if request["path"] != path:
        raise Refused(f"path: {request['path']} where the SDK asks {path}")


def validate(type_, body):
    try:
        strict(type_).validate_json(json.dumps(body), strict=True)
    except pydantic_core.ValidationError as error:
        raise Refused(explained(error, "body")) from error


@functools.cache
def strict(type_):
    schema = pydantic.TypeAdapter(type_).core_schema
    return pydantic_core.SchemaValidator(forbid_more(schema))


def forbid_more(schema):
    """Makes a schema strict at all depths: no unknown keys, no models, and every list is read."""
    if isinstance(schema, list | tuple):
        return type(schema)(forbid_more(one) for one in schema)
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "model":
        # Anthropic's types also accept the SDK's own objects; a decoded request holds none.
        never = {"type": "is-instance", "cls": Refused}
        return never | ({"ref": schema["ref"]} if "ref" in schema else {})
    schema = {key: forbid_more(value) for key, value in schema.items()}
    # Few types declare extra members.
    if schema.get("type") == "typed-dict" and "extras_schema" not in schema:
        schema["extra_behavior"] = "forbid"
    elif schema.get("type") == "generator":
        schema["type"] = "list"
    return schema


WIRES = {"responses": responses, "chat": chat, "anthropic": anthropic, "gemini": gemini}
