"""TLS of the Python peers, from words of their command line: `ca=FILE`, whom a client trusts instead of
those whom the machine trusts; `certificate=FILE` and `key=FILE`, what a server shows.
"""

import ssl
import sys

FILES = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith(("ca=", "cert", "key=")))


def client(url: str) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=FILES.get("ca")) if url.startswith("wss:") else None


def server() -> ssl.SSLContext | None:
    if "certificate" not in FILES:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(FILES["certificate"], FILES["key"])
    return context
