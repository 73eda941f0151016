"""A revoked stock nats-py is cut off and stays out; with a renewed chain it is back."""

import json
import unittest

from support.agent import Agent, refused, tools
from support.system import the_system
from support.wait import until

LET_OUT = "authorization violation"


class Ends(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.system = the_system()
        self.agent = Agent(self.system)
        self.tools = tools(["research.topic"], ["research.topic"])

    async def cut(self, link):
        await until(lambda: link.closed, "the connection is closed")
        self.assertEqual(link.reconnects, 0)

    async def test_a_revoked_key_is_cut_and_can_not_come_back(self):
        chain = self.agent.commission(self.tools)
        # A client that tries to come back, as stock clients do.
        link = await self.agent.connect(chain, allow_reconnect=True, max_reconnect_attempts=3, reconnect_time_wait=0.1)
        self.addAsyncCleanup(link.close)
        answer = self.system.marque("revoke", "key", self.agent.did, "--reason", "interop")
        self.assertEqual(answer["receipt"]["silent"], [])
        await self.cut(link)
        self.assertIn(LET_OUT, (await refused(self.system.url, self.agent.key, chain)).lower())

        def kicked():
            return self.system.records(agent=self.agent.did, kind="kicked")

        record = (await until(kicked, "its record"))[0]["record"]
        self.assertEqual((record["code"], record["directive"]), ("revoked", answer["id"]))

    async def test_with_a_renewed_chain_it_is_back_after_its_old_token_was_revoked(self):
        old = self.agent.commission(self.tools)
        link = await self.agent.connect(old)
        self.addAsyncCleanup(link.close)
        self.system.marque("revoke", "token", old, "--reason", "interop")
        await self.cut(link)
        self.assertIn(LET_OUT, (await refused(self.system.url, self.agent.key, old)).lower())
        renewed = await self.agent.connect(self.agent.commission(self.tools))
        self.addAsyncCleanup(renewed.close)
        got = await renewed.nats.subscribe("research.topic")
        await renewed.nats.publish("research.topic", b"back")
        self.assertEqual((await got.next_msg(60)).data, b"back")

    async def test_others_stay_connected(self):
        other = Agent(self.system)
        stays = await other.connect(other.commission(self.tools))
        self.addAsyncCleanup(stays.close)
        link = await self.agent.connect(self.agent.commission(self.tools))
        self.addAsyncCleanup(link.close)
        self.system.marque("revoke", "key", self.agent.did, "--reason", "interop")
        await self.cut(link)
        await stays.nats.flush(60)
        self.assertEqual(stays.disconnects, 0)

    async def test_of_a_revoked_root_the_sub_agent_is_cut_too(self):
        chain = self.agent.commission(self.tools, "--depth", "1")
        sub = Agent(self.system)
        (self.agent.home / "root.chain").write_text(chain)
        answer = self.system.marque("token", "delegate", "--home", str(self.agent.home), "--chain",
                                    str(self.agent.home / "root.chain"), "--to", sub.did, "--tools",
                                    json.dumps(self.tools))
        link = await sub.connect(answer["chain"])
        self.addAsyncCleanup(link.close)
        self.system.marque("revoke", "token", chain, "--reason", "interop")
        await self.cut(link)
        self.assertIn(LET_OUT, (await refused(self.system.url, sub.key, answer["chain"])).lower())


if __name__ == "__main__":
    unittest.main()
