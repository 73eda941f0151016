"""A stock nats-py outlives the life of its connection: closed, it comes back by itself; or it shows its chain anew before."""

import time
import unittest

from support.agent import Agent, tools
from support.system import running
from support.wait import until

# Renewed at half of it. Long enough for a client on a slow machine to come back before the next.
LIFE_SECONDS = 12
RECONNECTS = 2


async def show_anew(link):
    """Sends the client's `CONNECT` once more over the link that it has, and its subscriptions, which the broker forgets."""
    client = link.nats
    await client._send_command(client._connect_command())
    for subscription in list(client._subs.values()):
        await client._send_subscribe(subscription)
    await client.flush()


class Life(unittest.IsolatedAsyncioTestCase):
    async def test_a_connection_is_renewed_twice_and_not_for_whoever_was_revoked(self):
        with running("life.example", {"gatekeeper": f"connection_life_seconds = {LIFE_SECONDS}"}) as system:
            # Stock clients, as they try to come back.
            options = {"allow_reconnect": True, "reconnect_time_wait": 0.1}
            granted = tools(["research.topic"], ["research.topic"])
            stays, revoked = Agent(system), Agent(system)
            link = await stays.connect(stays.commission(granted), **options)
            self.addAsyncCleanup(link.close)
            cut = await revoked.connect(revoked.commission(granted), max_reconnect_attempts=3, **options)
            self.addAsyncCleanup(cut.close)
            got = await link.nats.subscribe("research.topic")
            for times in range(1, RECONNECTS + 1):
                await until(lambda: link.reconnects >= times, f"it is back for the time {times}; it heard {link.said}")
                await link.nats.publish("research.topic", str(times).encode())
                self.assertEqual((await got.next_msg(60)).data, str(times).encode())
                if times == 1:
                    system.marque("revoke", "key", revoked.did, "--reason", "interop")
                    await until(lambda: cut.closed, "it is cut, and has given up")
            self.assertFalse(link.closed)
            before = cut.reconnects

            def connected(agent):
                return len(system.records(agent=agent.did, kind="connected"))

            await until(lambda: connected(stays) > RECONNECTS, "the log has each time")
            self.assertEqual(cut.reconnects, before)

    async def test_a_client_that_shows_its_chain_anew_keeps_its_link(self):
        with running("kept.example", {"gatekeeper": f"connection_life_seconds = {LIFE_SECONDS}"}) as system:
            granted = tools(["research.topic"], ["research.topic"])
            agent = Agent(system)
            chains = [agent.commission(granted)]
            # nats-py asks for the token whenever it connects.
            link = await agent.connect(lambda: chains[-1])
            self.addAsyncCleanup(link.close)
            got = await link.nats.subscribe("research.topic")
            until_time = time.monotonic() + 2 * LIFE_SECONDS

            async def renewed():
                chains.append(agent.commission(granted))
                await show_anew(link)
                await link.nats.publish("research.topic", str(len(chains)).encode())
                self.assertEqual((await got.next_msg(60)).data, str(len(chains)).encode())
                return time.monotonic() > until_time

            await until(renewed, "two lives of its connection are over")
            self.assertEqual((link.disconnects, link.reconnects, link.said), (0, 0, []))

            def shown():
                of = [found["record"] for found in system.records(agent=agent.did, kind="connected")]
                return [one for one in of if one["shown"] == "chain"]

            await until(lambda: len(shown()) == len(chains), "the log has each time")
            self.assertEqual(len({one["cid"] for one in shown()}), 1)
            self.assertEqual(len({one["token"] for one in shown()}), len(chains))


if __name__ == "__main__":
    unittest.main()
