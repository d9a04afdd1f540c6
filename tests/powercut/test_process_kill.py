"""Kill the agent's store at any moment: what it said it had is there, numbers have no gap, the chain holds.

A child process writes to the outbox, tells over a pipe what has been committed, and is killed (SIGKILL) at random
from a fixed seed, again and again over the same file. That covers the death of the process: the kernel still writes
out what SQLite has written. A power cut also takes what is in the kernel's and the disk's caches; to simulate that
takes a VFS that knows which writes were synced, and the standard library offers none. What stands in for it here is
the test in `tests/unit/test_edge_outbox.py` that the store runs in WAL with synchronous=FULL.
"""

import hashlib
import os
import random  # noqa: TID251  # from a fixed seed
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.outbox import Stamp, open_outbox
from edge_agent.wire import batch, cose

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOON_MS = 1_785_556_800_000
STAMP = Stamp(NOON_MS, 0, "boot", "ntp", 0, "bundle")
KILLS = 8
SEED = 20_260_801

CHILD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from edge_agent.outbox import Stamp, Taken, open_outbox
    from edge_agent.wire.batch import CANONICAL_DECIMALS, Reading
    from edge_agent.wire.control import Ack, StreamAck

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    box = open_outbox(Path(sys.argv[1]), "GW001", key, 0).outbox
    box.apply(Ack("GW001", box.store_uuid, 1, 1, ()), 0)
    slot, noon_ms = int(sys.argv[2]), 1_785_556_800_000
    print("ready", flush=True)
    while True:
        rows = [Reading(f"M{m}", noon_ms + slot * 900_000, 0, (slot * 10 + m,) + (None,) * 15) for m in range(4)]
        box.add([Taken(row, CANONICAL_DECIMALS) for row in rows])
        print("kept", slot, flush=True)
        if slot % 3 == 2:
            box.seal(Stamp(noon_ms, 0, "boot", "ntp", 0, "bundle"))
            print("sealed", box.offers()[0].next_seq - 1, flush=True)
        if slot % 7 == 6:
            box.apply(Ack("GW001", box.store_uuid, 1, 1, (StreamAck(0, box.offers()[0].next_seq - 1),)), 0)
            print("acked", box.offers()[0].next_seq - 1, flush=True)
        slot += 1
    """
)


def live_and_die(folder, first_slot, wait_s):
    """Run the child until it is killed; returns the last slot kept, number sealed and number acked it told."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(first_slot)], stdout=subprocess.PIPE, text=True
    )
    with child:
        told = {"kept": first_slot - 1, "sealed": 0, "acked": 0}
        assert child.stdout.readline() == "ready\n"
        time.sleep(wait_s)
        os.kill(child.pid, signal.SIGKILL)
        for line in child.stdout:
            word, _, number = line.partition(" ")
            if line.endswith("\n"):
                told[word] = int(number)
    return told


def contents(folder):
    """All readings of the store, wherever they are, and the numbers, states and hashes of its batches."""
    opened = open_outbox(folder, "GW001", KEY, NOON_MS)
    assert opened.salvaged is None, "the file was damaged"
    box = opened.outbox
    box.seal(STAMP)
    found, batches = [], []
    query = "SELECT seq, state, sha256, body FROM batch WHERE stream=0 ORDER BY seq"
    for seq, state, sha256, body in box.conn.execute(query):
        envelope = cose.open_sealed(body, KEY.public_key(), batch.AAD)
        header = batch.header_of(envelope)
        rows = batch.decode_body(envelope.payload, header)
        found += [
            (rows.meters[m], (at - NOON_MS) // 900_000, tick)
            for m, at, tick in zip(rows.meter_index, rows.taken_at_ms, rows.columns[0], strict=True)
        ]
        assert hashlib.sha256(body).digest() == sha256
        batches.append((seq, state, sha256, header))
    opened.close()
    return found, batches


@pytest.mark.timeout(120)
def test_what_was_told_as_kept_survives_kill_9(tmp_path):
    chance = random.Random(SEED)
    slot, told = 0, {}

    for _ in range(KILLS):
        told = live_and_die(tmp_path, slot, chance.uniform(0.02, 0.35))
        found, batches = contents(tmp_path)

        slots = {at for _, at, _ in found}
        assert told["kept"] <= max(slots, default=-1) <= told["kept"] + 1
        assert len(found) == len({(meter, at) for meter, at, _ in found}), "a reading is in two batches"
        assert sorted(found) == sorted((f"M{m}", at, at * 10 + m) for at in slots for m in range(4))
        assert slots == set(range(len(slots)))
        assert [seq for seq, *_ in batches] == list(range(1, len(batches) + 1))
        assert len(batches) >= told["sealed"]
        chain = [header.previous_sha256 for *_, header in batches]
        assert chain == [batch.NO_PREVIOUS, *(sha256 for _, _, sha256, _ in batches[:-1])][: len(chain)]
        assert sum(state == "acked" for _, state, _, _ in batches) >= told["acked"]
        slot = len(slots)

    assert slot > KILLS, "the child has had no time to do anything"
