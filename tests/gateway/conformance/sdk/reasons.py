"""Formats pydantic's errors in one line."""

import json


def explained(error, place):
    """Lists the relevant errors: of a union, not those of members with another `type` or `role`."""
    errors = error.errors()
    others = {
        error["loc"][:-1]
        for error in errors
        if error["loc"]
        and error["loc"][-1] in ("type", "role")
        and error["type"] in ("literal_error", "missing")
    }
    telling = [
        error
        for error in errors
        if error["type"] not in ("needs_python_object", "is_instance_of")
        and not (error["type"] == "string_type" and error["loc"][-1:] == ("str",))
        and not any(error["loc"][: len(other)] == other for other in others)
    ]
    return "; ".join(
        f"{where(place, error)}: {error['msg']}, not {brief(error['input'])}"
        for error in (telling or errors)[:8]
    )


def where(place, error):
    """Returns the path, without the member types that pydantic lists for unions of lists."""
    steps = (str(step) for step in error["loc"])
    return ".".join([place, *(step for step in steps if "[" not in step)])


def brief(value):
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
