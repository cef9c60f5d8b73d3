"""Checks both sides of the bridge's wires with the providers' official SDKs.

    check.py answer WIRE BASE_URL MODEL COUNT   asks a server COUNT times; prints what the SDK read, a JSON line each
    check.py request WIRE                       validates requests: JSON lines of {"path", "beta", "body"} on stdin
    check.py self                               checks that `request` can fail

WIRE is responses, chat, anthropic or gemini. mod.rs runs it.
"""

import json
import sys

import answer
import broken
import request


def main(command, *arguments):
    if command == "answer":
        wire, base_url, model, count = arguments
        for _ in range(int(count)):
            print(json.dumps(answer.read(wire, base_url, model)), flush=True)
        return 0
    if command == "request":
        (wire,) = arguments
        complaints = list(refusals(wire, sys.stdin))
    elif command == "self":
        complaints = list(broken.complaints())
    else:
        sys.exit(__doc__)
    print("\n".join(complaints) or "ok")
    return 1 if complaints else 0


def refusals(wire, lines):
    number = 0
    for number, line in enumerate(lines, 1):
        try:
            request.check(wire, json.loads(line))
        except request.Refused as refusal:
            yield f"request {number}: {refusal}"
    if not number:
        yield "no request to check"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
