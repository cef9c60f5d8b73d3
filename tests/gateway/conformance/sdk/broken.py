"""Requests that must be refused: a check that cannot fail checks nothing.

One good request per wire (and beta), and changes of it: place, value, and a word of the refusal.
"""

import copy

import request

ABSENT = object()
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}

GOOD = {
    "responses": {
        "path": "/v1/responses",
        "beta": None,
        "body": {
            "model": "gpt-5",
            "stream": True,
            "store": False,
            "instructions": "Be brief.",
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"},
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "hello"},
                        {"type": "input_image", "detail": "auto", "image_url": "data:,"},
                    ],
                },
                {"type": "function_call", "call_id": "c", "name": "shell", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "done"},
            ],
            "tools": [
                {
                    "type": "function",
                    "name": "shell",
                    "description": "",
                    "strict": False,
                    "parameters": SCHEMA,
                }
            ],
            "tool_choice": "auto",
        },
    },
    "chat": {
        "path": "/v1/chat/completions",
        "beta": None,
        "body": {
            "model": "gpt-5",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "hello"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "shell", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "done"},
            ],
            "tools": [{"type": "function", "function": {"name": "shell", "parameters": SCHEMA}}],
        },
    },
    "anthropic": {
        "path": "/v1/messages",
        "beta": None,
        "body": {
            "model": "claude-sonnet-4-5",
            "max_tokens": 1024,
            "stream": True,
            "system": [{"type": "text", "text": "Be brief."}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hello"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": "t", "name": "shell", "input": {"command": ""}}
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [{"type": "text", "text": "done"}],
                        }
                    ],
                },
            ],
            "tools": [{"name": "shell", "input_schema": SCHEMA}],
        },
    },
    "gemini": {
        "path": "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        "beta": None,
        "body": {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "hello"}]},
                {
                    "role": "model",
                    "parts": [{"functionCall": {"id": "c", "name": "shell", "args": {}}}],
                },
                {
                    "role": "user",
                    "parts": [
                        {
                            "functionResponse": {
                                "id": "c",
                                "name": "shell",
                                "response": {"output": "done"},
                            }
                        }
                    ],
                },
            ],
            "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
            "tools": [
                {"functionDeclarations": [{"name": "shell", "parametersJsonSchema": SCHEMA}]}
            ],
        },
    },
}

GOOD["anthropic beta"] = copy.deepcopy(GOOD["anthropic"])
GOOD["anthropic beta"]["beta"] = "thinking-binding-controls-2026-08-01"
GOOD["anthropic beta"]["body"]["thinking"] = {
    "type": "adaptive",
    "block_binding": {"prefix_mismatch_behavior": "drop_block"},
}

BROKEN = {
    "responses": [
        ("path", "/responses", "path"),
        ("body.surprise", 1, "surprise"),
        ("body.stream", False, "stream"),
        ("body.model", 5, "model"),
        ("body.reasoning.effort", "enormous", "effort"),
        ("body.input.0.surprise", 1, "surprise"),
        ("body.input.0.role", "robot", "role"),
        ("body.input.0.content.0.text", 1, "text"),
        ("body.input.0.content.1.type", "input_hologram", "content"),
        ("body.input.1.arguments", {}, "arguments"),
        ("body.input.1.call_id", ABSENT, "call_id"),
        ("body.input.2.type", "function_call_result", "input"),
        ("body.tools.0.surprise", 1, "surprise"),
        ("body.tools.0.parameters", "none", "parameters"),
    ],
    "chat": [
        ("body.surprise", 1, "surprise"),
        ("body.stream_options.surprise", True, "surprise"),
        ("body.messages.0.role", "robot", "role"),
        ("body.messages.1.reasoning", "Hm.", "reasoning"),
        ("body.messages.2.reasoning", 1, "reasoning"),
        ("body.messages.1.content", {}, "content"),
        ("body.messages.1.content.0.surprise", 1, "surprise"),
        ("body.messages.1.content.0.type", "input_text", "content"),
        ("body.messages.2.tool_calls.0.id", ABSENT, "id"),
        ("body.messages.2.tool_calls.0.function.arguments", {}, "arguments"),
        ("body.messages.2.tool_calls.0.function.surprise", 1, "surprise"),
        ("body.messages.3.tool_call_id", ABSENT, "tool_call_id"),
        ("body.tools.0.function.surprise", 1, "surprise"),
        ("body.tools.0.function.name", 7, "name"),
    ],
    "anthropic": [
        ("body.surprise", 1, "surprise"),
        ("body.max_tokens", "1024", "max_tokens"),
        ("body.max_tokens", ABSENT, "max_tokens"),
        ("body.thinking.surprise", 1, "surprise"),
        ("body.thinking.budget_tokens", ABSENT, "budget_tokens"),
        ("body.system.0.cache_control", {"type": "eternal"}, "cache_control"),
        ("body.messages.0.role", "robot", "role"),
        ("body.messages.0.content.0.surprise", 1, "surprise"),
        ("body.messages.1.content.0.input", "{}", "input"),
        ("body.messages.1.content.0.surprise", 1, "surprise"),
        ("body.messages.1.content.0.id", ABSENT, "id"),
        ("body.messages.2.content.0.content.0.text", None, "text"),
        ("body.messages.2.content.0.type", "tool_answer", "content"),
        ("body.tools.0.input_schema", ABSENT, "input_schema"),
        ("body.tools.0.parameters", SCHEMA, "parameters"),
    ],
    "anthropic beta": [
        ("beta", None, "block_binding"),
        ("body.thinking.block_binding.surprise", 1, "surprise"),
        ("body.thinking.surprise", 1, "surprise"),
        ("body.messages.0.content.0.surprise", 1, "surprise"),
        ("body.tools.0.surprise", 1, "surprise"),
    ],
    "gemini": [
        ("path", "/v1beta/models/gemini-2.5-pro:streamGenerateContent", "path"),
        ("body.surprise", 1, "surprise"),
        ("body.generationConfig.surprise", 1, "surprise"),
        ("body.generationConfig.thinking_config", {}, "thinking_config"),
        ("body.generationConfig.thinkingConfig.thinkingLevel", "ENORMOUS", "ENORMOUS"),
        ("body.contents.0.parts.0.surprise", 1, "surprise"),
        ("body.contents.0.parts.0.text", 1, "text"),
        ("body.contents.1.parts.0.functionCall.args", "{}", "args"),
        ("body.contents.1.parts.0.functionCall.arguments", {}, "arguments"),
        ("body.contents.2.parts.0.functionResponse.response", "done", "response"),
        ("body.tools.0.functionDeclarations.0.surprise", 1, "surprise"),
        ("body.tools.0.functionDeclarations.0.name", 7, "name"),
        ("body.toolConfig", {"functionCallingConfig": {"mode": "SOMETIMES"}}, "SOMETIMES"),
    ],
}


def complaints():
    """Yields the defects of the check itself."""
    for name, good in GOOD.items():
        wire = name.split()[0]
        refusal = refused(wire, good)
        if refusal:
            yield f"{name}: refused a good request: {refusal}"
        for where, value, names in BROKEN[name]:
            refusal = refused(wire, changed(good, where, value))
            if not refusal:
                yield f"{name}: accepted {where} = {value}"
            elif names not in refusal:
                yield f"{name}: of {where} = {value} the refusal is: {refusal}"


def refused(wire, one):
    try:
        request.check(wire, one)
    except request.Refused as refusal:
        return str(refusal)
    return None


def changed(good, where, value):
    whole = copy.deepcopy(good)
    *parents, last = (int(step) if step.isdigit() else step for step in where.split("."))
    place = whole
    for step in parents:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return whole
