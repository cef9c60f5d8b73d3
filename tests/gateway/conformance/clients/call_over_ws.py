"""One call over GET /ws with the package `websockets`."""

import asyncio
import json
import os

import websockets


async def main():
    url = os.environ["GATEWAY_URL"].replace("http://", "ws://") + "/ws"
    async with websockets.connect(url, additional_headers={"X-API-Key": os.environ["GATEWAY_KEY"]}) as socket:
        call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "conversation.prompt",
            "params": {"prompt": "say: hello from python", "session_id": "python-ws"},
        }
        await socket.send(json.dumps(call))
        print(await socket.recv())


asyncio.run(main())
