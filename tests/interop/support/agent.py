"""An agent: enrolled and commissioned by our command line, connected by a stock nats-py."""

import itertools
import json
import pathlib
import tempfile

import nats
from nats.aio.client import Client

from .keys import Key
from .system import BLUEPRINT
from .wait import until

_COUNT = itertools.count(1)
CONNECT_SECONDS = 60


class Agent:
    """One key and its credential."""

    def __init__(self, system):
        self.system = system
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="agent-", dir=system.folder)) / "home"
        join = system.marque("agent", "invite", "--blueprint", BLUEPRINT)["join_token"]
        system.marque("agent", "enrol", "--home", str(self.home), "--join", join, "--model", "example-small-1")
        self.key = Key.read(self.home / "agent.key")
        self.did = system.marque("agent", "info", "--home", str(self.home))["agent"]
        assert self.did == self.key.did, "the agent's name is its key"

    def commission(self, tools, *flags):
        """A root token for these tools, as a chain of one."""
        task = f"urn:task:interop-{next(_COUNT)}"
        answer = self.system.marque("token", "issue", "--home", str(self.home), "--task", task, "--purpose", "interop",
                                    "--tools", json.dumps(tools), *flags)
        return answer["chain"] if "chain" in answer else answer["token"]

    async def connect(self, chain, client=None, **options):
        """A `Link` on this chain and this key."""
        return await Link.open(self.system.url, self.key, chain, client, **options)


def tools(publish=(), subscribe=(), more=None):
    """The tools of a token that grants these patterns on the wire."""
    granted = dict(more or {})
    for tool, patterns in (("nats:publish", publish), ("nats:subscribe", subscribe)):
        clauses = [{"constraint_type": "nats_subject", "pattern": pattern} for pattern in patterns]
        if len(clauses) == 1:
            granted[tool] = {"subject": clauses[0]}
        elif clauses:
            granted[tool] = {"subject": {"constraint_type": "any", "constraints": clauses}}
    return granted


class Link:
    """One connection of a stock client, and what the broker said on it."""

    def __init__(self, key, client):
        self.key = key
        self.nats = client
        self.said = []
        self.disconnects = 0
        self.reconnects = 0
        self.closed = False

    @classmethod
    async def open(cls, url, key, chain, client=None, **options):
        """Raises what nats-py raises when it is refused."""
        link = cls(key, client or Client())

        async def on_error(error):
            link.said.append(str(error))

        async def on_disconnect():
            link.disconnects += 1

        async def on_reconnect():
            link.reconnects += 1

        async def on_close():
            link.closed = True

        settings = {
            "nkeys_seed_str": key.nkey_seed,
            "inbox_prefix": f"_INBOX.{key.multibase}".encode(),
            "allow_reconnect": False,
            "connect_timeout": CONNECT_SECONDS,
            "error_cb": on_error,
            "disconnected_cb": on_disconnect,
            "reconnected_cb": on_reconnect,
            "closed_cb": on_close,
        } | options
        if chain is not None:
            settings["token"] = chain
        await link.nats.connect(url, **settings)
        return link

    async def close(self):
        if not self.nats.is_closed:
            await self.nats.close()

    async def violation(self, way, subject):
        """Waits until the broker has said that this is not allowed. `way`: `publish` or `subscription`."""
        words = f'permissions violation for {way} to "{subject}"'.lower()
        await until(lambda: any(words in said.lower() for said in self.said), f"{words}; it said {self.said}")


async def refused(url, key, chain):
    """Whether the broker refuses this key with this chain; the words that the client is told."""
    try:
        link = await Link.open(url, key, chain)
    except nats.errors.Error as error:
        return str(error)
    await link.close()
    return None
