"""Runs Autobahn's WebSocket cases; tests/tests/conformance.rs reads what it prints.

    autobahn.py server URL    against the server at URL
    autobahn.py client        against the client that is told the port, which is printed first

The cases come on stdin, a line each; none means all. Then a line is printed for each case: its
number, how the messages went, how the close went, and behind a tab why, if either is not OK.
"""

import asyncio
import importlib
import os
import sys

from kosoku import FailureError, _caseindex, run_fuzzingclient, run_fuzzingserver

# Two cases at a time: a server that mixes up two connections is found, and a second core is used.
AT_ONCE = 2


def let_messages_come_uncompressed() -> None:
    """Mends groups 12 and 13 of kosoku 0.1.0, which are Python 2's: a message that came uncompressed,
    as RFC 7692, section 6 allows for each, is a string there, and cannot be hashed."""
    _caseindex.initialize_shims()
    cases = importlib.import_module("case12_x_x")

    def mended(on_message):
        def hear(self, message, binary):
            if isinstance(message, str):
                message = message.encode("latin-1" if binary else "utf-8")
            on_message(self, message, binary)

        return hear

    for case in cases.Case12_X_X + cases.Case13_X_X:
        case.onMessage = mended(case.onMessage)


async def results(side: str, cases: list[str] | None):
    try:
        if side == "server":
            return await run_fuzzingclient(sys.argv[2], cases, concurrency=AT_ONCE)
        async with run_fuzzingserver(cases, port=0) as server:
            print("port", server.port, flush=True)
            return await server.get_result()
    except FailureError as failure:
        return failure.results


def main() -> None:
    cases = sys.stdin.read().split() or None
    let_messages_come_uncompressed()
    for result in asyncio.run(results(sys.argv[1], cases)):
        messages, close = result.behavior.value, result.behavior_close.value
        line = " ".join([result.case_id, messages.replace(" ", "-"), close.replace(" ", "-")])
        if messages != "OK" or close != "OK":
            line += f"\t{result.result} {result.result_close} (code {result.remote_close_code})"
        print(line.replace("\n", " "))
    # kosoku's threads may still run and abort a Python that winds down.
    sys.stdout.flush()
    os._exit(0)


main()
