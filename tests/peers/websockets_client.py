"""The client of Python's `websockets` against our echo server; prints what it saw as JSON.

    websockets_client.py URL [deflate] [subprotocols] [ca=FILE]
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import secure
from samples import FRAGMENTS, SAMPLES

URL = sys.argv[1]
OPTIONS = {
    "compression": "deflate" if "deflate" in sys.argv else None,
    "subprotocols": ["chat.v3", "echo.v1"] if "subprotocols" in sys.argv else [],
    "proxy": None,
    "ssl": secure.client(URL),
}


async def echoes(socket) -> list[str]:
    same = []
    for name, sample in SAMPLES.items():
        await socket.send(sample)
        if await socket.recv() == sample:
            same.append(name)
    await socket.send(FRAGMENTS)
    if await socket.recv() == "".join(FRAGMENTS):
        same.append("fragments")
    return same


async def keeps_order(socket) -> bool:
    numbers = [str(number) for number in range(1000)]

    async def send():
        for number in numbers:
            await socket.send(number)

    sending = asyncio.create_task(send())
    heard = [await socket.recv() for _ in numbers]
    await sending
    return heard == numbers


async def pong(socket) -> bool:
    await (await socket.ping("are you there?"))
    return True


async def answers_ping(socket) -> bool:
    await socket.send("ping")
    return await socket.recv() == "pong"


async def closes() -> str:
    """Closes with a code and a reason; returns what the server says about it to somebody else."""
    async with connect(URL, **OPTIONS) as watcher:
        await watcher.send("watch")
        await watcher.recv()
        async with connect(URL, **OPTIONS) as socket:
            await socket.close(4001, "bye, Jürgen")
        return await watcher.recv()


async def is_closed() -> list:
    async with connect(URL, **OPTIONS) as socket:
        await socket.send("close")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            return [closed.rcvd.code, closed.rcvd.reason]


async def main() -> None:
    async with connect(URL, **OPTIONS) as socket:
        verdict = {
            "subprotocol": socket.subprotocol,
            "extensions": socket.response.headers.get("Sec-WebSocket-Extensions"),
            "echoes": await echoes(socket),
            "keeps_order": await keeps_order(socket),
            "pong": await pong(socket),
            "answers_ping": await answers_ping(socket),
        }
    verdict["closes"] = await closes()
    verdict["is_closed"] = await is_closed()
    print(json.dumps(verdict))


asyncio.run(main())
