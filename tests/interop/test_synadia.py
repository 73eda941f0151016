"""Synadia's agent packages, unmodified, through the gatekeeper: each serves and calls what its chain says."""

import asyncio
import unittest

from nats.aio.client import Client
from synadia_ai.agents import Agents

from support.parties import KIND, OWNER, TIMEOUT_SECONDS, Parties, calls, serves
from support.wait import until


class Synadia(Parties):
    async def test_a_host_is_found_and_answers_its_caller(self):
        host = await self.host()
        caller, agents = await self.caller(self.session)
        agent = await self.found(agents, self.session)
        self.assertEqual(await self.answer(agent, "hello"), "you said: hello")
        self.assertEqual((await agent.status(timeout_s=TIMEOUT_SECONDS)).session, self.session)
        self.assertTrue(await agents.ping(agent.instance_id, timeout=TIMEOUT_SECONDS))
        await until(lambda: agents.liveness(agent.instance_id), "a heartbeat")
        self.assertEqual((host.said, caller.said), ([], []), "the broker refused nothing")

    async def test_a_caller_prompts_no_one_that_its_chain_does_not_name(self):
        other = f"{self.session}-other"
        await self.host()
        await self.host(other)
        link, agents = await self.caller(other)
        agent = await self.found(agents, self.session)
        prompt = asyncio.create_task(self.answer(agent, "let me in"))
        self.addAsyncCleanup(cancelled, prompt)
        await link.violation("publish", agent.prompt_subject)
        # What it may ask is answered, and nothing else was served.
        self.assertEqual(await self.answer(await self.found(agents, other), "me"), "you said: me")
        self.assertEqual([text for text, _ in self.served], ["me"])

    async def test_a_host_serves_no_session_that_its_chain_does_not_name(self):
        wanted = f"{self.session}-wanted"
        impostor = await self.link_of(serves(self.session))
        await self.serve(impostor, wanted)
        await impostor.violation("subscription", f"agents.prompt.{KIND}.{OWNER}.{wanted}\" using queue \"agents")
        await impostor.violation("subscription", f"agents.status.{KIND}.{OWNER}.{wanted}\" using queue \"agents")
        # Whoever serves it rightly gets what is asked.
        await self.host(wanted)
        caller = await self.link_of(calls(wanted))
        for number in range(8):
            subject = f"agents.status.{KIND}.{OWNER}.{wanted}"
            reply = await caller.nats.request(subject, b"", timeout=TIMEOUT_SECONDS)
            self.assertNotIn(b"Nats-Service-Error", reply.data, number)

    async def test_a_host_does_not_speak_for_another(self):
        link = await self.link_of(serves(self.session))
        subject = f"agents.hb.{KIND}.{OWNER}.other"
        await link.nats.publish(subject, b"{}")
        await link.violation("publish", subject)

    async def test_a_revoked_caller_is_cut_while_the_host_goes_on(self):
        host = await self.host()
        link, agents = await self.caller(self.session)
        agent = await self.found(agents, self.session)
        self.assertEqual(await self.answer(agent, "before"), "you said: before")
        self.system.marque("revoke", "key", link.key.did, "--reason", "interop")
        await until(lambda: link.closed, "the caller's connection is closed")
        _, others = await self.caller(self.session)
        self.assertEqual(await self.answer(await self.found(others, self.session), "after"), "you said: after")
        self.assertEqual((host.disconnects, [text for text, _ in self.served]), (0, ["before", "after"]))

    async def test_the_shared_reply_inbox_of_a_client_without_ours_is_refused(self):
        link = await self.link_of(calls(self.session), Client())
        agents = Agents(nc=link.nats)
        self.addAsyncCleanup(agents.close)
        self.assertEqual(await agents.discover(stall=0.1, max_wait=0.1), [])
        await until(lambda: any("_inbox.agents." in said.lower() for said in link.said), "a violation")


async def cancelled(task):
    task.cancel()
    await asyncio.wait([task])


if __name__ == "__main__":
    unittest.main()
