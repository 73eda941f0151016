"""Who is not let in: the reason stands in the log, the caller is told none."""

import hashlib
import time
import unittest

from support.action import claims
from support.agent import Agent, refused, tools
from support.raw import RawConnection, connect_options
from support.system import running, the_system
from support.wait import until

TOLD = "nats: 'authorization violation'"
EXPIRY_SECONDS = 2


class Refusals(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.system = the_system()
        self.agent = Agent(self.system)
        self.tools = tools(["research.topic"])

    async def recorded(self, shown, code, agent=None):
        """The *refused* record of what was shown, with this code."""
        digest = hashlib.sha256(shown.encode()).hexdigest()

        def refusals():
            found = [one["record"] for one in self.system.records(kind="refused")]
            return [one for one in found if one["input"]["sha256"] == digest]

        record = (await until(refusals, f"a record of the refusal: {code}"))[-1]
        self.assertEqual((record["code"], record["service"]), (code, "marque-gatekeeper"))
        self.assertEqual(record.get("agent"), agent)

    async def kept_out(self, key, chain, code, agent=None):
        words = await refused(self.system.url, key, chain)
        self.assertIsNotNone(words, "it was let in")
        self.assertEqual(words.lower(), TOLD)
        await self.recorded(chain, code, agent)

    async def test_a_stolen_chain_without_its_key(self):
        thief = Agent(self.system)
        await self.kept_out(thief.key, self.agent.commission(self.tools), "possession_unproven", thief.did)

    async def test_no_chain_at_all(self):
        words = await refused(self.system.url, self.agent.key, None)
        self.assertEqual(words.lower(), TOLD)

    async def test_a_chain_with_a_changed_bit(self):
        head, payload, signature = self.agent.commission(self.tools).split(".")
        changed = ("A" if signature[0] != "A" else "B") + signature[1:]
        await self.kept_out(self.agent.key, f"{head}.{payload}.{changed}", "signature_invalid", self.agent.did)

    async def test_an_expired_chain(self):
        chain = self.agent.commission(self.tools, "--ttl", f"{EXPIRY_SECONDS}s")
        expires = claims(chain)["exp"]
        # A token's times are whole seconds.
        await until(lambda: time.time() > expires + 1, "the chain expires")
        await self.kept_out(self.agent.key, chain, "token_expired", self.agent.did)

    async def test_a_signature_of_another_connections_nonce(self):
        chain = self.agent.commission(self.tools)
        first = await RawConnection.open(self.system.url)
        self.addAsyncCleanup(first.close)
        connect = connect_options(self.agent.key, chain, first.info["nonce"])
        self.assertTrue(await first.let_in(connect), "its own nonce")
        second = await RawConnection.open(self.system.url)
        self.addAsyncCleanup(second.close)
        self.assertNotEqual(first.info["nonce"], second.info["nonce"])
        self.assertFalse(await second.let_in(connect), "the same signature once more")
        await self.recorded(chain, "possession_unproven")

    async def test_a_chain_of_another_trust_domain(self):
        with running("other.example") as elsewhere:
            stranger = Agent(elsewhere)
            chain = stranger.commission(self.tools)
            self.assertIsNone(await refused(elsewhere.url, stranger.key, chain), "at home it is good")
        await self.kept_out(stranger.key, chain, "signature_invalid", stranger.did)


if __name__ == "__main__":
    unittest.main()
