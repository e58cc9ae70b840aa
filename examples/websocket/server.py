#!/usr/bin/python3
"""A WebSocket server that repeats what it is told, and says nothing by itself.

Its argument is the port, or 0 for one that is free. It needs Debian's python3-websockets.
"""

import asyncio
import sys

import websockets


async def repeat(connection):
    user = connection.request_headers.get("Remote-Client", "nobody")
    try:
        async for message in connection:
            await connection.send(user + " says " + message)
    except websockets.ConnectionClosedError:
        pass  # without a word of farewell


async def main():
    async with websockets.serve(repeat, "127.0.0.1", int(sys.argv[1]), ping_interval=None) as server:
        print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
