"""Prompt, status and cancel over POST /jsonrpc with the package `requests`."""

import json
import os

import requests


def call(method, **params):
    answer = requests.post(
        os.environ["GATEWAY_URL"] + "/jsonrpc",
        headers={"X-API-Key": os.environ["GATEWAY_KEY"]},
        json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
        timeout=60,
    )
    answer.raise_for_status()
    return answer.json()


print(json.dumps(call("conversation.prompt", prompt="say: hello from python", session_id="python-http")))
print(json.dumps(call("conversation.status", session_id="python-http")))
print(json.dumps(call("conversation.cancel", session_id="python-http")))
print(json.dumps(call("conversation.status", session_id="nobody")))
