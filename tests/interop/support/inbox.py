"""A nats-py client for a library that names its own reply inboxes.

Synadia's packages take the connection that they are given, and make every reply subject below `_INBOX.agents`, whatever
the connection's own prefix. An agent may read below `_INBOX.<its key>` alone: in a shared prefix each could read the
others' replies. This client puts its own prefix in front of theirs, on the way to the broker; they are unmodified.
"""

from nats.aio.client import Client

SHARED = "_INBOX.agents."


class OwnInboxClient(Client):
    """Give it to `Agents(nc=…)` or `AgentService(nc=…)`; connect it with `inbox_prefix`."""

    async def subscribe(self, subject, *arguments, **options):
        return await super().subscribe(self._own(subject), *arguments, **options)

    async def publish(self, subject, payload=b"", reply="", headers=None):
        await super().publish(subject, payload, reply=self._own(reply), headers=headers)

    def _own(self, subject):
        if not subject.startswith(SHARED):
            return subject
        return f"{self._inbox_prefix.decode()}.{subject.removeprefix('_INBOX.')}"
