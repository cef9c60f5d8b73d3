"""A small MCP server for the tests, without dependencies.

mcp_server.py MODE [...]: `stdio` uses standard input and output; `http TOKEN` prints its port and
requires the token; the other modes misbehave. Appends its process id to the file MCP_TEST_PIDS, and
each HTTP message with its headers to the file MCP_TEST_REQUESTS, if set.
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOOLS = [
    {
        "name": "add",
        "description": "Adds two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        },
    },
    {
        "name": "variables",
        "description": "The names of its environment variables.",
        "inputSchema": {"type": "object", "properties": {}},
    },
    {
        "name": "ask",
        "description": "Asks the user for a colour, and says what came of it.",
        "inputSchema": {"type": "object", "properties": {}},
    },
    {
        "name": "die",
        "description": "Ends the server in mid-call.",
        "inputSchema": {"type": "object", "properties": {}},
    },
]


def text(value):
    return {"content": [{"type": "text", "text": value}], "isError": False}


def elicit():
    """Asks the client for a colour and returns its response."""
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string"}},
        "required": ["colour"],
    }
    params = {"message": "Which colour?", "requestedSchema": schema}
    question = {"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params}
    print(json.dumps(question), flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("id") == "q" and "method" not in message:
            return message.get("result", message.get("error"))
    return None


def call(params):
    name, arguments = params["name"], params.get("arguments") or {}
    if name == "add":
        return text(str(arguments["a"] + arguments["b"]))
    if name == "variables":
        return text(" ".join(sorted(os.environ)))
    if name == "ask":
        return text(json.dumps(elicit()))
    if name == "die":
        os._exit(7)
    raise KeyError(name)


def answer(message):
    """Returns the answer to a message, None for a notification."""
    if "id" not in message:
        return None
    method = message["method"]
    if method == "initialize":
        result = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "test", "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": TOOLS}
    elif method == "tools/call":
        result = call(message["params"])
    elif method == "ping":
        result = {}
    else:
        error = {"code": -32601, "message": "no such method"}
        return {"jsonrpc": "2.0", "id": message["id"], "error": error}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def stdio():
    for line in sys.stdin:
        reply = answer(json.loads(line))
        if reply is not None:
            print(json.dumps(reply), flush=True)


def http(token, hangs=False):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status, body=b""):
            self.send_response(status)
            if body:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Mcp-Session-Id", "one")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Authorization") != f"Bearer {token}":
                self.reply(403)
                return
            message = json.loads(body)
            if path := os.environ.get("MCP_TEST_REQUESTS"):
                headers = {name.lower(): value for name, value in self.headers.items()}
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"headers": headers, "message": message}) + "\n")
            reply = answer(message)
            self.reply(202) if reply is None else self.reply(200, json.dumps(reply).encode())

        def do_GET(self):
            self.reply(405)

        def do_DELETE(self):
            if hangs:
                time.sleep(1000)
            self.reply(200)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def main():
    if path := os.environ.get("MCP_TEST_PIDS"):
        with open(path, "a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    mode = sys.argv[1]
    if mode == "stdio":
        stdio()
    elif mode == "http":
        http(sys.argv[2])
    elif mode == "http-hangs-at-end":
        http(sys.argv[2], hangs=True)
    elif mode == "stdio-hangs-at-end":
        # Ignores the end of input and every signal that can be ignored.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stdio()
        time.sleep(1000)
    elif mode == "dies":
        print("no configuration found", file=sys.stderr)
        sys.exit(3)
    elif mode == "hangs":
        # Ignores the end of input, with a child that keeps the pipes open.
        subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
    elif mode == "prints":
        print("Welcome to my server!", flush=True)
        time.sleep(1000)
    elif mode == "lies":
        for line in sys.stdin:
            message = json.loads(line)
            result = {"tools": "none of your business", "protocolVersion": 7}
            print(json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result}), flush=True)
    elif mode == "dies-later":
        print(json.dumps(answer(json.loads(sys.stdin.readline()))), flush=True)
        sys.stdin.readline()
        sys.exit(4)


main()
