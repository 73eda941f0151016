"""Waiting for a thing, with a deadline that only a broken system reaches."""

import asyncio
import inspect

DEADLINE_SECONDS = 60
POLL_SECONDS = 0.05


async def until(look, what, deadline_seconds=DEADLINE_SECONDS):
    """What `look` gives, as soon as that is true; `look` may be a coroutine function."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_seconds
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return seen
        if loop.time() > end:
            raise AssertionError(f"waited {deadline_seconds} s in vain: {what}")
        await asyncio.sleep(POLL_SECONDS)
