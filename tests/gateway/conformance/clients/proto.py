"""A submission and its events in protobuf over GET /ws, with a compiled proto/codex_gateway.proto."""

import asyncio
import base64
import json
import os
import pathlib
import sys
import tempfile

import websockets
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).parents[4]
folder = tempfile.TemporaryDirectory()
status = protoc.main(
    ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder.name}", "codex_gateway.proto"]
)
assert status == 0, "the .proto file does not compile"
sys.path.insert(0, folder.name)
import codex_gateway_pb2 as pb  # noqa: E402


def call(id, submission):
    data = base64.b64encode(submission.SerializeToString()).decode()
    params = {"stream_id": f"stream-{id}", "data": data}
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": "proto", "params": params})


def parsed(kind, envelope, stream_id):
    assert envelope["stream_id"] == stream_id, envelope
    message = kind.FromString(base64.b64decode(envelope["data"]))
    # Fields that the .proto file does not declare are dropped here.
    again = kind()
    again.CopyFrom(message)
    again.DiscardUnknownFields()
    assert again == message and again.ByteSize() == message.ByteSize(), f"unknown fields in {message}"
    return message


async def main():
    url = os.environ["GATEWAY_URL"].replace("http://", "ws://") + "/ws"
    async with websockets.connect(url, additional_headers={"X-API-Key": os.environ["GATEWAY_KEY"]}) as socket:

        async def answer():
            while True:
                message = json.loads(await socket.recv())
                if "id" in message:
                    return message

        # Every field is set, so that a field with another number in the gateway is noticed.
        everything = pb.UserInput(
            text="say: hello from protobuf",
            images=["data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="],
            model="demo",
            cwd="",
            sandbox="read-only",
            timeout_ms=60000,
            if_busy="queue",
            output_schema='{"type":"object"}',
            approval_policy="never",
        )
        await socket.send(call(1, pb.Submission(session_id="protobuf", user_input=everything)))
        accepted = parsed(pb.Accepted, (await answer())["result"], "stream-1")
        events = []
        while not events or events[-1].type != "task_complete":
            message = json.loads(await socket.recv())
            assert message["method"] == "proto.event", message
            events.append(parsed(pb.Event, message["params"], "stream-1"))
        for number, event in enumerate(events):
            assert event.seq == accepted.after_seq + 1 + number
            assert event.conversation_id == accepted.conversation_id
            assert json.loads(event.msg)["type"] == event.type
        assert events[-1].id == accepted.turn_id

        # Each field is read under its number: its error names it.
        for field, value in (("sandbox", "x"), ("timeout_ms", 1), ("if_busy", "x"), ("output_schema", "x"),
                             ("images", ["x"]), ("approval_policy", "x"), ("cwd", "/etc"), ("model", "x" * 300)):
            wrong = pb.UserInput(text="say: x", **{field: value})
            await socket.send(call(2, pb.Submission(user_input=wrong)))
            error = (await answer())["error"]
            assert error["code"] in (-32602, -32003) and field in error["message"], (field, error)
        for bad in (pb.Submission(), pb.Submission(session_id="nobody", interrupt=pb.Interrupt())):
            await socket.send(call(3, bad))
            assert (await answer())["error"]["code"] in (-32602, -32004)

        await socket.send(call(4, pb.Submission(session_id="protobuf", user_input=pb.UserInput(text="slow: 100000"))))
        running = parsed(pb.Accepted, (await answer())["result"], "stream-4")
        await socket.send(call(5, pb.Submission(conversation_id=running.conversation_id, interrupt=pb.Interrupt())))
        stopped = parsed(pb.Accepted, (await answer())["result"], "stream-5")
        assert stopped.turn_id == running.turn_id and stopped.session_id == "protobuf"
        # An approval is decided with invalid fields first, then with every field set.
        asking = pb.UserInput(text="run: touch made && echo approved in protobuf", approval_policy="untrusted")
        await socket.send(call(6, pb.Submission(session_id="asks", user_input=asking)))
        accepted = parsed(pb.Accepted, (await answer())["result"], "stream-6")
        approval_id = None
        while approval_id is None:
            event = parsed(pb.Event, json.loads(await socket.recv())["params"], "stream-6")
            approval_id = json.loads(event.msg)["call_id"] if event.type == "exec_approval_request" else None

        def decide(id, **fields):
            decided = pb.Answer(approval_id=approval_id, **fields)
            return call(id, pb.Submission(conversation_id=accepted.conversation_id, answer=decided))

        for field, value in (("decision", "maybe"), ("content", "no JSON")):
            await socket.send(decide(7, **{"decision": "denied", field: value}))
            error = (await answer())["error"]
            assert error["code"] == -32602 and field in error["message"], error
        answers = [pb.QuestionAnswer(question_id="q", texts=["a", "b"])]
        await socket.send(decide(8, decision="approved", reason="why not", answers=answers, content="{}"))
        continued = parsed(pb.Accepted, (await answer())["result"], "stream-8")
        assert continued.turn_id == accepted.turn_id and continued.session_id == "asks"
        while event.type != "task_complete":
            message = json.loads(await socket.recv())
            if "id" not in message:
                event = parsed(pb.Event, message["params"], "stream-6")
        assert "approved in protobuf" in json.loads(event.msg)["last_agent_message"]
        await socket.send(decide(9, decision="approved"))
        assert (await answer())["error"]["code"] == -32004
        last = json.loads(events[-1].msg)["last_agent_message"]
        print(json.dumps({"events": len(events), "last": last}))


asyncio.run(main())
