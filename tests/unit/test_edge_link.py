"""The uplink ends when it is told to, also when the broker's answer comes in the same instant."""

import asyncio

import pytest

from edge_agent import link


class Answering:
    """A client whose PUBACK arrives together with the cancellation, waiting as aiomqtt waits."""

    def __init__(self):
        self.confirmed = asyncio.Event()

    async def publish(self, topic, body, qos):
        await asyncio.wait_for(self.confirmed.wait(), timeout=5)


def test_a_cancellation_that_comes_with_the_puback_is_not_dropped():
    async def scenario():
        client = Answering()
        sending = asyncio.ensure_future(link._publish(client, "up/v1/GW001/b/0", b""))
        await asyncio.sleep(0.01)
        client.confirmed.set()
        await asyncio.sleep(0)  # the waiter inside wait_for is done, wait_for itself has not run yet
        sending.cancel()
        await sending

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario())
