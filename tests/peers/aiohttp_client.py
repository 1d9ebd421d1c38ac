"""The WebSocket client of Python's `aiohttp` against our echo server; prints what it saw as JSON.

    aiohttp_client.py URL [deflate] [subprotocols] [ca=FILE]

It cannot send fragments.
"""

import asyncio
import json
import sys

from aiohttp import ClientSession, WSMsgType

import secure
from samples import SAMPLES

URL = sys.argv[1]
OPTIONS = {
    "compress": 15 if "deflate" in sys.argv else 0,
    "protocols": ["chat.v3", "echo.v1"] if "subprotocols" in sys.argv else [],
    "autoping": False,
    "ssl": secure.client(URL) or True,
}


async def echoes(socket) -> list[str]:
    same = []
    for name, sample in SAMPLES.items():
        if isinstance(sample, str):
            await socket.send_str(sample)
            answer = await socket.receive_str()
        else:
            await socket.send_bytes(sample)
            answer = await socket.receive_bytes()
        if answer == sample:
            same.append(name)
    return same


async def keeps_order(socket) -> bool:
    numbers = [str(number) for number in range(1000)]

    async def send():
        for number in numbers:
            await socket.send_str(number)

    sending = asyncio.create_task(send())
    heard = [await socket.receive_str() for _ in numbers]
    await sending
    return heard == numbers


async def pong(socket) -> bool:
    await socket.ping(b"are you there?")
    answer = await socket.receive()
    return answer.type == WSMsgType.PONG and bytes(answer.data) == b"are you there?"


async def answers_ping(socket) -> bool:
    await socket.send_str("ping")
    ping = await socket.receive()
    assert ping.type == WSMsgType.PING, ping
    await socket.pong(ping.data)
    return await socket.receive_str() == "pong"


async def closes(session) -> str:
    """Closes with a code and a reason; returns what the server says about it to somebody else."""
    async with session.ws_connect(URL, **OPTIONS) as watcher:
        await watcher.send_str("watch")
        await watcher.receive_str()
        async with session.ws_connect(URL, **OPTIONS) as socket:
            await socket.close(code=4001, message="bye, Jürgen".encode())
        return await watcher.receive_str()


async def is_closed(session) -> list:
    async with session.ws_connect(URL, **OPTIONS) as socket:
        await socket.send_str("close")
        answer = await socket.receive()
        assert answer.type == WSMsgType.CLOSE, answer
        return [answer.data, answer.extra]


async def main() -> None:
    async with ClientSession() as session:
        async with session.ws_connect(URL, **OPTIONS) as socket:
            verdict = {
                "subprotocol": socket.protocol,
                "extensions": socket._response.headers.get("Sec-WebSocket-Extensions"),
                "echoes": await echoes(socket),
                "keeps_order": await keeps_order(socket),
                "pong": await pong(socket),
                "answers_ping": await answers_ping(socket),
            }
        verdict["closes"] = await closes(session)
        verdict["is_closed"] = await is_closed(session)
    print(json.dumps(verdict))


asyncio.run(main())
