"""The agent's durable store: readings and events wait here, become sealed batches, and stay until long after the ack.

    reading --seal--> batch (sealed) --ack--> batch (acked, kept 30 days) --tidy--> gone
    event   --seal--> batch of stream 1

Promises: what `add` and `note` returned from is on the disk (WAL, synchronous=FULL). A reading is in exactly one
place: waiting, or in one batch. Sequence numbers of an epoch have no gap and no number is used twice: the batch, the
removal of its readings and the next number are one transaction. Nothing is marked acked or removed but by the cloud's
signed cumulative ack, by the disk policy (`budget`), or as damaged, and each but the first is told as an event.

Only this package speaks SQL and only one thread may use an `Outbox` (`OutboxThread` sees to it).
"""

from edge_agent.outbox.budget import Budget, limit_bytes
from edge_agent.outbox.opening import Opened, OutboxBusy, OutboxUnusable, open_outbox
from edge_agent.outbox.store import AckEffect, Depth, Outbox, Stamp
from edge_agent.outbox.taken import Taken
from edge_agent.outbox.thread import OutboxRefused, OutboxThread

__all__ = [
    "AckEffect",
    "Budget",
    "Depth",
    "Opened",
    "Outbox",
    "OutboxBusy",
    "OutboxRefused",
    "OutboxThread",
    "OutboxUnusable",
    "Stamp",
    "Taken",
    "limit_bytes",
    "open_outbox",
]
