"""Says each line it reads over TLS, and prints the line that is answered.

Arguments: the port on this machine, the authority's file, `1.2` or `1.3`, and `websocket` where lines are messages.
"""

import socket
import ssl
import sys

port, authority, version, *websocket = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.minimum_version = context.maximum_version = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}[version]
connection = socket.create_connection(("127.0.0.1", int(port)))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
stream = context.wrap_socket(connection, server_hostname="localhost")
incoming = stream.makefile("rb")

if websocket:
    stream.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert incoming.readline().startswith(b"HTTP/1.1 101 ")
    while incoming.readline() != b"\r\n":
        pass

for line in sys.stdin:
    text = line.rstrip("\n").encode()
    if websocket:
        # A text of less than 126 bytes; a mask of zeros leaves it as it is.
        stream.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
        kind, length = incoming.read(2)
        assert kind == 0x81 and length < 126, (kind, length)
        answer = incoming.read(length)
    else:
        stream.sendall(text + b"\n")
        answer = incoming.readline()
    assert answer, "the connection has ended"
    print(answer.decode().rstrip("\n"), flush=True)
