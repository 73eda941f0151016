"""Hosts and callers made of Synadia's agent packages, each connected by its own chain."""

import unittest

from synadia_ai.agent_service import AgentService
from synadia_ai.agents import Agents, DiscoverFilter, ResponseChunk

from .agent import Agent, tools
from .inbox import OwnInboxClient
from .system import the_system
from .wait import until

KIND, OWNER = "echo", "interop"
TIMEOUT_SECONDS = 60
# The library waits so long for discovery's answers after the last one; on a slow machine the first takes time too.
STALL_SECONDS, DISCOVERY_SECONDS = 2, 10
VERBS = ["PING", "INFO", "STATS"]


def serves(session):
    """What the host of one session needs."""
    asked = [f"$SRV.{verb}{rest}" for verb in VERBS for rest in ["", ".agents", ".agents.*"]]
    own = f"{KIND}.{OWNER}.{session}"
    return tools([f"agents.hb.{own}"], [f"agents.prompt.{own}", f"agents.status.{own}", *asked])


def calls(*sessions):
    """What a caller of these sessions needs: it finds all, and prompts those."""
    own = [f"{KIND}.{OWNER}.{session}" for session in sessions]
    asks = [f"agents.{verb}.{one}" for one in own for verb in ["prompt", "status"]]
    return tools([*asks, "$SRV.INFO.agents", "$SRV.PING.agents.*"], ["agents.hb.*.*.*"])


class Parties(unittest.IsolatedAsyncioTestCase):
    """Hosts and callers of one test; what the hosts have served, by whom it was asked."""

    def setUp(self):
        self.system = the_system()
        self.served = []
        # Sessions are found by name: each test has its own.
        self.session = self.id().rsplit(".", 1)[-1].replace("_", "-")

    async def link_of(self, granted, client=None):
        agent = Agent(self.system)
        link = await agent.connect(agent.commission(granted), client or OwnInboxClient())
        self.addAsyncCleanup(link.close)
        return link

    async def serve(self, link, session, **options):
        service = AgentService(agent=KIND, owner=OWNER, session_name=session, nc=link.nats, heartbeat_interval_s=1,
                               **options)

        async def handler(envelope, stream):
            self.served.append((envelope.prompt, stream.sender))
            await stream.send(f"you said: {envelope.prompt}")

        service.on_prompt(handler)
        await service.start()

        async def stop():
            if not link.nats.is_closed:
                await service.stop()

        self.addAsyncCleanup(stop)
        return service

    async def host(self, session=None, **options):
        session = session or self.session
        link = await self.link_of(serves(session))
        await self.serve(link, session, **options)
        # The caller is another connection: the broker must know by then who serves.
        await link.nats.flush()
        return link

    async def caller(self, *sessions, **options):
        link = await self.link_of(calls(*sessions))
        agents = Agents(nc=link.nats, **options)

        async def close():
            if not link.nats.is_closed:
                await agents.close()

        self.addAsyncCleanup(close)
        return link, agents

    async def served_by_now(self):
        """What was served, once something was."""
        return await until(lambda: self.served, "a prompt is served")

    async def found(self, agents, session):
        async def discovered():
            by = DiscoverFilter(agent=KIND, owner=OWNER, session_name=session)
            return await agents.discover(stall=STALL_SECONDS, max_wait=DISCOVERY_SECONDS, filter=by)

        [agent] = await until(discovered, f"`{session}` is discovered")
        return agent

    async def answer(self, agent, text):
        chunks = [chunk async for chunk in agent.prompt(text, timeout=TIMEOUT_SECONDS)]
        return "".join(chunk.text for chunk in chunks if isinstance(chunk, ResponseChunk))
