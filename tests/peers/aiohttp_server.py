"""A WebSocket server made of Python's `aiohttp`, for our client; prints its port.

    aiohttp_server.py [deflate] [certificate=FILE key=FILE]

It echoes, but for `close` and `ping`: it does that. For each connection that ends it prints as JSON
what it saw of it. It cannot send fragments.
"""

import asyncio
import json
import sys

from aiohttp import WSMsgType, web

import secure

OPTIONS = {
    "compress": "deflate" in sys.argv,
    "protocols": ["echo.v1"],
    "autoping": False,
    "max_msg_size": 4 * 1024 * 1024,
}


async def answer(socket, message) -> None:
    if message.data == "close":
        await socket.close(code=4002, message="told to, Jürgen".encode())
    elif message.data == "ping":
        await socket.ping(b"are you there?")
        pong = await socket.receive()
        same = pong.type == WSMsgType.PONG and bytes(pong.data) == b"are you there?"
        await socket.send_str("pong" if same else f"{pong}")
    elif message.type == WSMsgType.TEXT:
        await socket.send_str(message.data)
    elif message.type == WSMsgType.BINARY:
        await socket.send_bytes(message.data)
    elif message.type == WSMsgType.PING:
        await socket.pong(message.data)


async def handle(request):
    socket = web.WebSocketResponse(**OPTIONS)
    await socket.prepare(request)
    closed = [None, None]
    while not socket.closed:
        message = await socket.receive()
        if message.type == WSMsgType.CLOSE:
            closed = [message.data, message.extra]
        await answer(socket, message)
    print(json.dumps({
        "subprotocol": socket.ws_protocol,
        "extensions": socket.headers.get("Sec-WebSocket-Extensions"),
        "path": request.path_qs,
        "closed": closed,
    }), flush=True)
    return socket


async def main() -> None:
    application = web.Application()
    application.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=secure.server())
    await site.start()
    print("port", runner.addresses[0][1], flush=True)
    # Until whoever started us closes our input.
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


asyncio.run(main())
