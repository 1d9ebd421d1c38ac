"""Runs Autobahn's WebSocket cases; tests/tests/conformance.rs reads what it prints.

    autobahn.py server URL    against the server at URL
    autobahn.py client        against the client that is told the port, which is printed first

The cases come on stdin, a line each; none means all. Then a line is printed for each case: its
number, how the messages went, how the close went, and behind a tab why, if either is not OK.
"""

import asyncio
import os
import sys

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver

# Two cases at a time: a server that mixes up two connections is found, and a second core is used.
AT_ONCE = 2


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
