#!/usr/bin/python3
"""A WebSocket client that says one thing, shows the answer, and waits until the connection ends.

Its argument is the URL, and the token is the first line of its input. It needs Debian's python3-websockets.
"""

import asyncio
import sys

import websockets


async def main():
    headers = {"Authorization": "Bearer " + sys.stdin.readline().strip()}
    async with websockets.connect(sys.argv[1], extra_headers=headers, ping_interval=None, close_timeout=1) as connection:
        await connection.send("hello")
        print(await connection.recv(), flush=True)
        await connection.wait_closed()
        print("closed", flush=True)


asyncio.run(main())
