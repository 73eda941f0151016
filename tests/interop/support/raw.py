"""The client protocol by hand: what a stock client never sends."""

import asyncio
import json
from urllib.parse import urlsplit

from .keys import base64url
from .wait import DEADLINE_SECONDS


class RawConnection:
    """A socket to the broker. `info` is what the server said first, its nonce in it."""

    def __init__(self, reader, writer, info):
        self._reader, self._writer, self.info = reader, writer, info

    @classmethod
    async def open(cls, url):
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        verb, _, body = (await _line(reader)).partition(" ")
        assert verb == "INFO", verb
        return cls(reader, writer, json.loads(body))

    async def let_in(self, connect):
        """Sends this CONNECT: true at the PONG, false at an error or the end."""
        self._writer.write(b"CONNECT " + json.dumps(connect).encode() + b"\r\nPING\r\n")
        await self._writer.drain()
        while True:
            line = await _line(self._reader)
            if line == "PONG":
                return True
            if line == "PING":
                self._writer.write(b"PONG\r\n")
            elif line == "" or line.startswith("-ERR"):
                return False

    async def close(self):
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            # The server was first.
            pass


def connect_options(key, chain, nonce):
    """What a stock client sends to be let in."""
    return {
        "verbose": False, "pedantic": False, "protocol": 1, "headers": True, "no_responders": True, "lang": "raw",
        "version": "1", "auth_token": chain, "nkey": key.nkey, "sig": base64url(key.sign(nonce.encode())),
    }


async def _line(reader):
    try:
        line = await asyncio.wait_for(reader.readline(), DEADLINE_SECONDS)
    except ConnectionError:
        return ""
    return line.decode().rstrip("\r\n")
