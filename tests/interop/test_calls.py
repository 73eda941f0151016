"""A tool is called through the gate with a proof that was made by hand."""

import json
import unittest

from support import action
from support.agent import Agent, Link
from support.keys import Key
from support.system import the_system
from support.wait import until

SUBJECT = "gated.archive.search"
TOOL = f"nats:{SUBJECT}"
GRANT = {TOOL: {"customer": {"constraint_type": "one_of", "values": ["acme", "globex"]}}}
TIMEOUT_SECONDS = 60


class Calls(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.system = the_system()
        self.asked = []
        host = Key.read(self.system.directory / "keys" / "host.key")
        # The tool's host: it has never heard of chains or proofs.
        self.host = await Link.open(self.system.url, host, None)
        self.addAsyncCleanup(self.host.close)

        async def search(message):
            self.asked.append((json.loads(message.data), dict(message.headers or {})))
            await message.respond(b'{"found":["minutes.pdf"]}')

        await self.host.nats.subscribe(SUBJECT, cb=search)
        await self.host.nats.flush()
        self.agent = Agent(self.system)
        self.chain = self.agent.commission(GRANT)
        self.link = await self.agent.connect(self.chain)
        self.addAsyncCleanup(self.link.close)

    async def call(self, arguments, headers):
        body = action.canonical(arguments)
        return await self.link.nats.request(f"marque.gate.{SUBJECT}", body, timeout=TIMEOUT_SECONDS, headers=headers)

    def headers(self, arguments, **claims):
        return action.headers(self.agent.key, self.chain, self.system.domain, SUBJECT, arguments, **claims)

    async def decided(self, decision):
        def records():
            return self.system.records(agent=self.agent.did, tool=TOOL, decision=decision, kind="decided")

        return (await until(records, f"a record: {decision}"))[-1]["record"]

    async def denied(self, arguments, headers, code):
        reply = await self.call(arguments, headers)
        self.assertEqual(json.loads(reply.data)["code"], code)
        self.assertIn("Nats-Service-Error-Code", reply.headers)
        self.assertEqual(self.asked, [], "the tool never heard of it")
        return json.loads(reply.data)

    async def test_permitted(self):
        arguments = {"customer": "acme"}
        reply = await self.call(arguments, self.headers(arguments, why="the report needs it"))
        self.assertEqual(json.loads(reply.data), {"found": ["minutes.pdf"]})
        [(heard, told)] = self.asked
        self.assertEqual(heard, arguments)
        self.assertFalse({"Marque-Chain", "Marque-Proof"} & set(told), "the tool sees neither")
        record = await self.decided("permit")
        self.assertEqual(record["decision"], "permit")

    async def test_denied_with_arguments_beyond_the_chain(self):
        arguments = {"customer": "initech"}
        await self.denied(arguments, self.headers(arguments), "argument_refused")
        record = await self.decided("deny")
        self.assertEqual((record["code"], record["step"]), ("argument_refused", "6b"))

    async def test_denied_with_arguments_that_were_not_signed(self):
        await self.denied({"customer": "globex"}, self.headers({"customer": "acme"}), "proof_arguments_mismatch")

    async def test_denied_by_another_key(self):
        arguments = {"customer": "acme"}
        thief = Agent(self.system)
        headers = action.headers(thief.key, self.chain, self.system.domain, SUBJECT, arguments)
        await self.denied(arguments, headers, "signature_invalid")

    async def test_denied_when_replayed(self):
        arguments = {"customer": "acme"}
        headers = self.headers(arguments)
        reply = await self.call(arguments, headers)
        self.assertNotIn("Nats-Service-Error-Code", reply.headers or {})
        self.asked.clear()
        await self.denied(arguments, headers, "proof_replayed")

    async def test_denied_without_a_proof(self):
        arguments = {"customer": "acme"}
        headers = self.headers(arguments)
        del headers["Marque-Proof"]
        await self.denied(arguments, headers, "proof_malformed")


if __name__ == "__main__":
    unittest.main()
