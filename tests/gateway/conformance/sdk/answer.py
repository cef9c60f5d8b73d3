"""Reads one streamed answer with a provider's official SDK: its parser, its types, its accumulator."""

import base64
import warnings

import pydantic
from reasons import explained

KEY = "canary-key"


def read(wire, base_url, model):
    """Returns what the SDK read in the answer; an exception is an `error` too."""
    said = {
        "text": "",
        "reasoning": "",
        "seal": None,
        "tool_calls": [],
        "refusal": None,
        "stop": None,
        "usage": None,
        "error": None,
    }
    try:
        WIRES[wire](base_url, model, said)
    except Exception as error:  # Any exception of an SDK is a finding.
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        said["error"] = {
            "status": status if isinstance(status, int) else None,
            "class": type(error).__name__,
            "message": message(error),
        }
    return said


def message(error):
    invalid = error if isinstance(error, pydantic.ValidationError) else error.__cause__
    if isinstance(invalid, pydantic.ValidationError):
        return explained(invalid, "answer")
    return str(error)


def responses(base_url, model, said):
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key=KEY, max_retries=0, _strict_response_validation=True)
    failure, joined = None, {}
    with client.responses.stream(model=model, input="hello") as stream:
        for event in stream:
            if event.type == "error":
                said["error"] = failed(event)
                return
            if event.type in ("response.failed", "response.incomplete"):
                failure = event.response
            if event.type.endswith(("output_text.delta", "function_call_arguments.delta")):
                joined[event.output_index] = event.snapshot
        final = failure or stream.get_final_response()
    for at, item in enumerate(final.output):
        if item.type == "message":
            for part in item.content:
                if part.type == "refusal":
                    said["refusal"] = part.refusal
                else:
                    said["text"] += part.text
                    add_up(joined.pop(at), part.text)
        elif item.type == "reasoning":
            said["reasoning"] += "".join(part.text for part in item.summary)
            said["seal"] = item.encrypted_content
        elif item.type == "function_call":
            said["tool_calls"].append(call(item.call_id, item.name, item.arguments))
            add_up(joined.pop(at), item.arguments)
        elif item.type == "custom_tool_call":
            said["tool_calls"].append(call(item.call_id, item.name, item.input))
        else:
            raise ValueError(f"an unsupported item: {item.type}")
    said["stop"] = final.status
    if final.error:
        said["error"] = failed(final.error)
    if final.usage:
        said["usage"] = {
            "input": final.usage.input_tokens,
            "cached": final.usage.input_tokens_details.cached_tokens,
            "output": final.usage.output_tokens,
            "reasoning": final.usage.output_tokens_details.reasoning_tokens,
        }


def add_up(deltas, whole):
    """Checks that the deltas joined by the SDK equal the complete value of the API."""
    if deltas != whole:
        raise ValueError(f"the deltas are {deltas}, the whole is {whole}")


def failed(error):
    return {"status": None, "class": error.code, "message": error.message}


def chat(base_url, model, said):
    from openai import LengthFinishReasonError
    from openai import OpenAI

    client = OpenAI(base_url=base_url, api_key=KEY, max_retries=0, _strict_response_validation=True)
    with client.chat.completions.stream(
        model=model,
        messages=[{"role": "user", "content": "hello"}],
        stream_options={"include_usage": True},
    ) as stream:
        try:
            final = stream.get_final_completion()
        except LengthFinishReasonError as cut:
            final = cut.completion
    choice = final.choices[0]
    message = choice.message
    said["text"] = message.content or ""
    # Additions of vLLM and OpenRouter. The SDK keeps and joins unknown members.
    extra = message.model_extra or {}
    said["reasoning"] = extra.get("reasoning_content") or extra.get("reasoning") or ""
    for detail in extra.get("reasoning_details") or []:
        said["seal"] = detail.get("signature")
    said["refusal"] = message.refusal
    said["stop"] = choice.finish_reason
    said["tool_calls"] = [
        call(one.id, one.function.name, one.function.arguments) for one in message.tool_calls or []
    ]
    if final.usage:
        cached = final.usage.prompt_tokens_details
        reasoning = final.usage.completion_tokens_details
        said["usage"] = {
            "input": final.usage.prompt_tokens,
            "cached": cached.cached_tokens if cached else None,
            "output": final.usage.completion_tokens,
            "reasoning": reasoning.reasoning_tokens if reasoning else None,
        }


def anthropic(base_url, model, said):
    from anthropic import Anthropic

    client = Anthropic(
        base_url=base_url, api_key=KEY, max_retries=0, _strict_response_validation=True
    )
    with client.messages.stream(
        model=model, max_tokens=1024, messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        final = stream.get_final_message()
    for block in final.content:
        if block.type == "text":
            said["text"] += block.text
        elif block.type == "thinking":
            said["reasoning"] += block.thinking
            said["seal"] = block.signature
        elif block.type == "tool_use":
            said["tool_calls"].append(call(block.id, block.name, block.input))
        else:
            raise ValueError(f"an unsupported block: {block.type}")
    said["stop"] = final.stop_reason
    if final.stop_details:
        said["refusal"] = final.stop_details.explanation
    details = final.usage.output_tokens_details
    said["usage"] = {
        "input": final.usage.input_tokens,
        "cached": final.usage.cache_read_input_tokens,
        "output": final.usage.output_tokens,
        "reasoning": details.thinking_tokens if details else None,
    }


def gemini(base_url, model, said):
    from google import genai

    # The SDK only warns about unknown values of an enum.
    warnings.simplefilter("error")
    options = genai.types.HttpOptions(
        base_url=base_url,
        # The SDK's default is v1, which lacks the newest models and aliases.
        api_version="v1beta",
        retry_options=genai.types.HttpRetryOptions(attempts=1),
    )
    client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
    for chunk in client.models.generate_content_stream(model=model, contents="hello"):
        feedback = chunk.prompt_feedback
        if feedback and feedback.block_reason:
            said["refusal"] = feedback.block_reason_message or feedback.block_reason.value
            said["stop"] = feedback.block_reason.value
        for candidate in chunk.candidates or []:
            for part in (candidate.content and candidate.content.parts) or []:
                if part.thought_signature:
                    said["seal"] = base64.b64encode(part.thought_signature).decode()
                if part.function_call:
                    one = part.function_call
                    said["tool_calls"].append(call(one.id, one.name, one.args))
                elif part.text is not None:
                    said["reasoning" if part.thought else "text"] += part.text
                else:
                    raise ValueError(f"an unsupported part: {part}")
            if candidate.finish_reason:
                said["stop"] = candidate.finish_reason.value
                said["refusal"] = candidate.finish_message or said["refusal"]
        if chunk.usage_metadata:
            usage = chunk.usage_metadata
            said["usage"] = {
                "input": usage.prompt_token_count,
                "cached": usage.cached_content_token_count,
                "output": usage.candidates_token_count,
                "reasoning": usage.thoughts_token_count,
            }


def call(id, name, arguments):
    return {"id": id, "name": name, "arguments": arguments}


WIRES = {"responses": responses, "chat": chat, "anthropic": anthropic, "gemini": gemini}
