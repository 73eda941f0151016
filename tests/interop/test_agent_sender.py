"""The header `Agent-Sender`: signed by the connection's key, which is the key that the chain's leaf is bound to.

The broker sees no header's meaning, so the receiver verifies: Synadia's host does, with its own code. What it calls the
sender, a NATS user key, is the agent's `did:key` in another spelling.
"""

import unittest

from synadia_ai.agents import AgentId, signer_from_seed
from synadia_ai.agents.identity import sender_header

from support.agent import Agent
from support.keys import did_of_nkey
from support.parties import KIND, OWNER, TIMEOUT_SECONDS, Parties, calls

ACCOUNT = "AGENTS"


class AgentSender(Parties):
    async def asyncSetUp(self):
        self.subject = f"agents.prompt.{KIND}.{OWNER}.{self.session}"
        self.link = await self.link_of(calls(self.session))

    async def ask(self, text, headers):
        """One prompt; the code of the error that it is answered with, or nothing."""
        reply = await self.link.nats.request(self.subject, text.encode(), timeout=TIMEOUT_SECONDS, headers=headers)
        return (reply.headers or {}).get("Nats-Service-Error-Code")

    async def signed(self, key, text, claimed=None):
        header = await sender_header.sign_sender_header(
            signer=signer_from_seed(key.nkey_seed),
            id=AgentId.new(ACCOUNT, (claimed or key).nkey),
            sub=self.subject,
            payload=text.encode(),
        )
        return {sender_header.AGENT_SENDER_HEADER: sender_header.serialize_sender_header(header)}

    async def test_the_verified_sender_is_the_agent_of_the_chain(self):
        await self.host(min_sender_trust="signed")
        self.assertIsNone(await self.ask("signed", await self.signed(self.link.key, "signed")))
        [(text, sender)] = await self.served_by_now()
        self.assertEqual((text, sender.trust), ("signed", "verified"))
        self.assertEqual(did_of_nkey(sender.id.user), self.link.key.did)

    async def test_what_does_not_verify_is_not_served(self):
        await self.host(min_sender_trust="signed")
        thief = Agent(self.system).key
        cases = {
            "no header": {},
            "another key's signature": await self.signed(thief, "text", claimed=self.link.key),
            "another text": await self.signed(self.link.key, "other"),
        }
        for name, headers in cases.items():
            with self.subTest(name):
                self.assertEqual(await self.ask("text", headers), "401")
        self.assertEqual(await self.ask("text", {sender_header.AGENT_SENDER_HEADER: "{"}), "400")
        headers = await self.signed(self.link.key, "once")
        self.assertIsNone(await self.ask("once", headers))
        self.assertEqual(await self.ask("once", headers), "401", "replayed")
        self.assertEqual([text for text, _ in await self.served_by_now()], ["once"])

    async def test_a_forged_header_is_refused_where_a_signature_is_not_demanded_either(self):
        await self.host()
        thief = Agent(self.system).key
        self.assertEqual(await self.ask("text", await self.signed(thief, "text", claimed=self.link.key)), "401")
        self.assertEqual(self.served, [])

    async def test_a_host_may_choose_its_callers_by_their_did(self):
        known = set()

        def accept(sender):
            return sender is not None and sender.trust == "verified" and did_of_nkey(sender.id.user) in known

        await self.host(accept_sender=accept)
        self.assertEqual(await self.ask("text", await self.signed(self.link.key, "text")), "403")
        known.add(self.link.key.did)
        self.assertIsNone(await self.ask("again", await self.signed(self.link.key, "again")))


if __name__ == "__main__":
    unittest.main()
