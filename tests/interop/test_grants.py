"""A stock nats-py may do on the wire what its chain grants, and nothing else."""

import unittest

import nats

from support.agent import Agent, tools
from support.system import the_system
from support.wait import until

# Each with a subject that a client can send: a publish takes no wildcards.
ELSEWHERE = [
    ">",
    "*.topic",
    "research",
    "reports.topic",
    "$SYS.>",
    "$SYS.REQ.USER.INFO",
    "$SYS.REQ.SERVER.PING",
    "$SYS.ACCOUNT.AGENTS.CONNECT",
    "$JS.API.>",
    "$JS.API.STREAM.DELETE.MARQUE_AUDIT",
    "$JS.ACK.>",
    "$KV.>",
    "$SRV.>",
    "$SRV.PING",
    "_INBOX.>",
    "_INBOX.agents.>",
    "_R_.>",
    "marque.record.decided.*",
    "marque.directive.>",
    "marque.directive.heartbeat",
    "marque.raw.>",
    "marque.committed.>",
    "marque.verifier.decide",
    "marque.audit.query",
    "marque.gate.gated.archive.search",
    "tools.>",
    "gated.archive.search",
]


class Grants(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.system = the_system()
        self.agent = Agent(self.system)

    async def connect(self, agent, *lists, **more):
        link = await agent.connect(agent.commission(tools(*lists, **more)))
        self.addAsyncCleanup(link.close)
        return link

    async def test_publishes_and_subscribes_what_it_was_granted(self):
        reader = await self.connect(Agent(self.system), (), ["research.>"])
        writer = await self.connect(self.agent, ["research.topic", "research.*.deep"])
        got = await reader.nats.subscribe("research.>")
        await reader.nats.flush()
        for subject in ["research.topic", "research.a.deep"]:
            self.assertEqual(await self.heard(writer, got, subject), subject)
        self.assertEqual((writer.said, reader.said), ([], []))

    async def heard(self, writer, got, subject):
        """Publishes until the reader hears it: core NATS keeps nothing for a subscription that is not there yet."""
        for _ in range(60):
            await writer.nats.publish(subject, b"found")
            try:
                message = await got.next_msg(1)
                while message.subject != subject:
                    message = await got.next_msg(1)
                return message.subject
            except nats.errors.TimeoutError:
                continue
        return None

    async def test_answers_where_it_is_asked_and_is_answered_in_its_own_inbox(self):
        server = await self.connect(Agent(self.system), (), ["research.question"])

        async def answer(message):
            await message.respond(b"answer to " + message.data)

        await server.nats.subscribe("research.question", cb=answer)
        await server.nats.flush()
        asker = await self.connect(self.agent, ["research.question"])
        reply = await asker.nats.request("research.question", b"this", timeout=60)
        self.assertEqual(reply.data, b"answer to this")

    async def test_is_refused_elsewhere(self):
        other = Agent(self.system)
        beyond = ELSEWHERE + [
            f"_INBOX.{other.key.multibase}.>",
            f"marque.record.requested.{other.key.multibase}",
            f"marque.record.decided.{self.agent.key.multibase}",
            f"marque.ack.{self.agent.key.multibase}",
        ]
        await self.nothing_of(beyond, ["research.topic"], ["research.topic"])

    async def test_what_the_services_and_the_server_own_is_withheld_even_where_a_chain_names_it(self):
        for pattern in [">", "$SYS.>", "$JS.API.>", "$SRV.>", "_INBOX.>", "marque.>", "tools.>", "gated.>"]:
            with self.subTest(pattern):
                await self.nothing_of([pattern], [pattern], [pattern])

    async def nothing_of(self, beyond, publish, subscribe):
        """Each subject gives a violation, both ways; a message that is sent there by another never comes."""
        link = await self.connect(self.agent, publish, subscribe)
        for pattern in beyond:
            await link.nats.subscribe(pattern)
            await link.violation("subscription", pattern)
            subject = pattern.replace("*", "x").replace(">", "x")
            await link.nats.publish(subject, b"{}")
            await link.violation("publish", subject)
        # It was refused, not thrown out.
        self.assertTrue(link.nats.is_connected)

    async def test_what_is_refused_does_not_arrive(self):
        reader = await self.connect(Agent(self.system), (), ["research.>"])
        got = await reader.nats.subscribe("research.>")
        await reader.nats.flush()
        writer = await self.connect(self.agent, ["research.open"])
        await writer.nats.publish("research.closed", b"smuggled")
        await writer.nats.publish("research.open", b"allowed")
        self.assertEqual((await got.next_msg(60)).subject, "research.open")
        await writer.violation("publish", "research.closed")
        self.assertEqual(got.pending_msgs, 0)

    async def test_the_log_tells_who_was_connected_with_which_permissions(self):
        await self.connect(self.agent, ["research.topic"])

        def connected():
            of = [found["record"] for found in self.system.records(agent=self.agent.did, kind="connected")]
            return [record for record in of if record["client"].startswith("python3")]

        record = (await until(connected, "its record"))[-1]
        self.assertIn("research.topic", record["publish"])
        own = {f"_INBOX.{self.agent.key.multibase}.>"}
        self.assertEqual(set(record["subscribe"]), own)


if __name__ == "__main__":
    unittest.main()
