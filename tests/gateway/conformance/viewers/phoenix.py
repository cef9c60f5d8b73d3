"""Runs Phoenix, a gateway that exports to it and a conversation, and checks what Phoenix shows."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

phoenix, gateway, *options = sys.argv[1:]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def eventually(what, check, seconds=120):
    """Returns the first truthy result of `check`."""
    end = time.monotonic() + seconds
    reason = None
    while time.monotonic() < end:
        try:
            if found := check():
                return found
        except (urllib.error.URLError, ConnectionError, json.JSONDecodeError) as error:
            reason = error
        time.sleep(0.5)
    raise SystemExit(f"never happened: {what} ({reason})")


def run(folder):
    ports = [free_port() for _ in range(3)]
    viewer, api = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[2]}"
    plain = {"PATH": os.environ["PATH"], "HOME": folder}
    log = open(os.path.join(folder, "log"), "w+")
    processes = []
    try:
        processes.append(subprocess.Popen([phoenix, "serve"], stdout=log, stderr=log, env=plain | {
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(ports[0]),
            "PHOENIX_GRPC_PORT": str(ports[1]),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }))
        eventually("Phoenix is up", lambda: fetch(f"{viewer}/v1/projects"))
        processes.append(subprocess.Popen([gateway], stdout=log, stderr=log, env=plain | {
            "CODEX_HOME": folder,
            "PORT": str(ports[2]),
            # Phoenix accepts only traces.
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{viewer}/v1/traces",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }))
        eventually("the gateway is up", lambda: fetch(f"{api}/health"))
        for prompt in ["run: echo hello from the sandbox", "what did I say before?"]:
            turn = fetch(f"{api}/api/v1/exec", {"prompt": prompt, "session_id": "demo"})
            assert turn["status"] == "completed", turn
        check_spans(viewer, turn["conversation_id"])
        if "--stay" in options:
            input(f"{viewer} shows it; Enter ends this. ")
    except BaseException:
        log.seek(0)
        sys.stderr.write("".join(log.readlines()[-40:]))
        raise
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def check_spans(viewer, conversation):
    project = f"{viewer}/v1/projects/default"

    def session():
        found = [one for one in fetch(f"{project}/sessions")["data"] if one["session_id"] == conversation]
        return found[0] if found and len(found[0]["traces"]) == 2 else None

    shown = eventually("the conversation is a session of two traces", session)
    traces = {trace["trace_id"] for trace in shown["traces"]}

    def spans():
        found = [one for one in fetch(f"{project}/spans?limit=1000")["data"] if one["context"]["trace_id"] in traces]
        roots = [one for one in found if one["name"] == "POST /api/v1/exec"]
        return found if len(roots) == 2 else None

    found = eventually("both traces are whole", spans)
    of_kind = lambda kind: [one for one in found if one["span_kind"] == kind]
    agents, models, tools = of_kind("AGENT"), of_kind("LLM"), of_kind("TOOL")
    print(f"Phoenix shows session {conversation} with {len(traces)} traces and {len(found)} spans:")
    names = {one["context"]["span_id"]: one["name"] for one in found}
    for one in sorted(found, key=lambda one: one["start_time"]):
        print(f"  {one['context']['trace_id'][:8]} {one['span_kind']:8} {one['name']}  <  {names.get(one['parent_id'], '-')}")
    assert [one["name"] for one in agents] == ["invoke_agent codex"] * 2, agents
    # The first turn calls the model, runs the command, and calls it again.
    assert len(models) == 3 and all(one["name"].startswith("chat ") for one in models), models
    assert len(tools) == 1 and tools[0]["name"].startswith("execute_tool "), tools
    for one in models + tools:
        assert names[one["parent_id"]] == "invoke_agent codex", one
    # Phoenix reads OpenTelemetry's names and counts the tokens of model calls, not those of turns.
    tokens = sum(one["attributes"]["llm.token_count.total"] for one in models)
    assert tokens == session()["token_count_total"] > 0, (tokens, session())
    print(f"and {tokens} tokens")


with tempfile.TemporaryDirectory() as folder:
    run(folder)
