"""A server made of Python's `websockets`, for our client; prints its port.

    websockets_server.py [deflate] [certificate=FILE key=FILE]

It echoes, but for `close`, `ping` and `fragments`: it does that. For each connection that ends it
prints as JSON what it saw of it.
"""

import asyncio
import json
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

import secure
from samples import FRAGMENTS


async def heard(socket):
    """Returns the next message, or nothing when the connection has ended."""
    try:
        return await socket.recv()
    except ConnectionClosed:
        return None


async def handle(socket) -> None:
    while (message := await heard(socket)) is not None:
        if message == "close":
            await socket.close(4002, "told to, Jürgen")
        elif message == "ping":
            await (await socket.ping("are you there?"))
            await socket.send("pong")
        elif message == "fragments":
            await socket.send(FRAGMENTS)
        else:
            await socket.send(message)
    print(json.dumps({
        "subprotocol": socket.subprotocol,
        "extensions": socket.response.headers.get("Sec-WebSocket-Extensions"),
        "path": socket.request.path,
        "closed": [socket.close_code, socket.close_reason],
    }), flush=True)


async def main() -> None:
    options = {
        "compression": "deflate" if "deflate" in sys.argv else None,
        # Its own choice refuses a client that asks for none.
        "select_subprotocol": lambda _, offered: "echo.v1" if "echo.v1" in offered else None,
        "max_size": 4 * 1024 * 1024,
        "ssl": secure.server(),
    }
    async with serve(handle, "127.0.0.1", 0, **options) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        # Until whoever started us closes our input.
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
