"""Which requests a meter is asked for a set of channels, and what their answers mean. Pure.

A question is one request on the wire. Blocks (DL/T 645 xxxxFF00, neighbouring Modbus registers) save
whole line turns; a meter that refuses a block is asked for its channels one by one.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from edge_agent.drivers import dlt645, modbus, values
from edge_agent.drivers.talk import Answer, Talk
from edge_agent.drivers.values import Missing
from edge_agent.profile import Block, Channel, Profile

_DIALECTS = {dialect.name: dialect for dialect in (dlt645.D2007, dlt645.D1997)}


@dataclass(frozen=True, slots=True)
class Question:
    """One request; `key` names it in the memory of what a meter does not have."""

    key: str
    channels: tuple[Channel, ...]
    block: Block | None = None  # DL/T 645
    read: modbus.RegisterRead | None = None  # Modbus


def questions(profile: Profile, codes: Collection[str]) -> tuple[Question, ...]:
    """List the requests that bring these channels; codes the profile does not have are left out."""
    wanted = tuple(channel for channel in profile.channels if channel.code in codes)
    if profile.protocol not in _DIALECTS:
        return tuple(_register_question(read) for read in modbus.coalesced(wanted, profile.link))
    found: list[Question] = []
    left = list(wanted)
    for block in profile.blocks:
        if sum(channel.code in block.gives for channel in left) >= 2:  # a single one is shorter by its own DI
            channels = tuple(profile.channel(code) for code in block.gives)
            found.append(Question(block.di, channels, block=block))
            left = [channel for channel in left if channel.code not in block.gives]
    found += [Question(channel.di, (channel,)) for channel in left]
    return tuple(found)


def singles(profile: Profile, question: Question) -> tuple[Question, ...]:
    """Take a question apart into one per channel."""
    if question.read is None:
        return tuple(Question(channel.di, (channel,)) for channel in question.channels)
    parts = (modbus.coalesced((channel,), profile.link) for channel in question.channels)
    return tuple(_register_question(read) for (read,) in parts)


def talk(
    profile: Profile, question: Question, address: str, transactions: Iterator[int], *, rtu: bool
) -> Talk[Answer]:
    """Give the talk that asks the question. Raises ValueError for an address the protocol can't have."""
    tries = profile.link.retries + 1
    if question.read is None:
        dialect = _DIALECTS[profile.protocol]
        return dlt645.read(address, question.key, dialect, tries=tries, preamble_fe=profile.link.preamble_fe)
    unit = unit_of(address)
    if rtu:
        return modbus.read_rtu(unit, question.read, tries=tries)
    return modbus.read_tcp(unit, question.read, transactions, tries=tries)


def decoded(question: Question, data: bytes) -> tuple[int | Missing, ...]:
    """Turn an answer into ticks, one entry per channel of the question."""
    if question.read is not None:
        read = question.read
        return tuple(
            values.register_ticks(channel, modbus.cut(read, channel, data)) for channel in read.channels
        )
    if question.block is not None:
        return values.block_ticks(question.channels, question.block.items, data)
    return (values.ticks_of(question.channels[0], data),)


def unit_of(address: str) -> int:
    """Read a Modbus unit id, 1 to 247. Raises ValueError."""
    if not address.isdecimal() or not 1 <= int(address) <= 247:
        raise ValueError(f"address {address!r}: a Modbus unit id, 1 to 247")
    return int(address)


def _register_question(read: modbus.RegisterRead) -> Question:
    return Question(f"fc{read.fc} {read.address}+{read.count}", read.channels, read=read)
