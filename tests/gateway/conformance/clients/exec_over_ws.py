"""One `exec` call over GET /ws with the package `websockets`: prints the reply."""

import asyncio
import json
import os

import websockets


async def main():
    url = os.environ["GATEWAY_URL"].replace("http://", "ws://") + "/ws"
    async with websockets.connect(url, additional_headers={"X-API-Key": os.environ["GATEWAY_KEY"]}) as socket:
        params = {"command": "echo", "args": ["hello from python"]}
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "exec", "params": params}))
        async for message in socket:
            # Output arrives as notifications before the reply.
            if "id" in json.loads(message):
                print(message)
                return


asyncio.run(main())
