"""The messages that every peer sends and gets back; tests/peers/samples.cjs has the same."""

import random

LONG = 1024 * 1024

FRAGMENTS = ["one ", "message ", "in ", "fünf ", "pieces"]

SAMPLES = {
    "text": "hello",
    "empty": "",
    "unicode": "Grüße, 世界, 👋🏽, \u0000, \u200b",
    "large text": "0123456789abcdé 世界 " * (LONG // 24),
    "binary": bytes(range(256)),
    "large binary": random.Random(1).randbytes(LONG),
}
