"""Read one meter: ask what the profile says, on the line it hangs on, and give its face as ticks."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from edge_agent.drivers import dlt645, questions
from edge_agent.drivers.bus import Line, LineDown, Patience
from edge_agent.drivers.questions import Question
from edge_agent.drivers.talk import Answer, MeterRefused, NoReply, NoSuchData, NotAuthorised
from edge_agent.drivers.values import Missing
from edge_agent.profile import Profile
from edge_agent.wire.batch import CHANNELS, Quality

_BROADCAST_PATIENCE = Patience(timeout_s=0.0, byte_gap_s=0.0, gap_s=0.5, late_s=0.0)


class NoBroadcast(Exception):
    """This protocol has no broadcast of the time."""


@dataclass(frozen=True, slots=True)
class MeterSample:
    """A meter's face at one time: 16 entries in catalogue order, in ticks of the profile's decimals."""

    ticks: tuple[int | None, ...]
    quality: int
    problems: tuple[str, ...]  # why a wanted channel is missing


async def read_meter(line: Line, profile: Profile, address: str, channels: Collection[str]) -> MeterSample:
    """Read these channels; a channel that could not be had is None, with the reason in `problems`.

    A meter that answers something and then falls silent gives a partial sample.
    Raises NoReply (silent from the start), LineDown, ValueError (an address the protocol can't have).
    """
    wanted = frozenset(channels)
    ticks: dict[str, int] = {}
    problems = [f"{code}: the profile has no such channel" for code in sorted(wanted - set(profile.codes))]
    answered, tries = False, 1
    pending = deque(questions.questions(profile, wanted))
    while pending:
        question = pending.popleft()
        try:
            answer = await _ask(line, profile, address, question)
        except MeterRefused as error:
            answered = True
            if isinstance(error, NoSuchData | NotAuthorised) and len(question.channels) > 1:
                pending.extendleft(reversed(questions.singles(profile, question)))
            else:
                problems += [f"{channel.code}: {error}" for channel in question.channels]
            continue
        except (NoReply, LineDown) as error:
            if not answered:
                raise
            problems.append(str(error))
            break
        answered, tries = True, max(tries, answer.tries)
        for channel, value in zip(question.channels, questions.decoded(question, answer.data), strict=True):
            if isinstance(value, Missing):
                problems.append(f"{channel.code}: {value.reason}")
            else:
                ticks[channel.code] = value
    return _sample(wanted, ticks, tries, problems)


async def set_clock_broadcast(line: Line, protocol: str, instant: datetime) -> None:
    """Tell every meter on the line the time (广播校时). None answers; most accept at most 5 minutes, once a day.

    `instant` is aware. Raises NoBroadcast, LineDown.
    """
    if not protocol.startswith("dlt645"):
        raise NoBroadcast(protocol)
    await line.say(b"\xfe" * 4 + dlt645.time_broadcast(instant), _BROADCAST_PATIENCE)


async def read_address(line: Line, profile: Profile) -> str:
    """Ask the only DL/T 645-2007 meter on the line for its number. Raises NoReply, LineDown."""
    talk = dlt645.read_address(tries=profile.link.retries + 1, preamble_fe=profile.link.preamble_fe)
    return (await line.talk(talk, Patience.of(profile.link))).address


async def _ask(line: Line, profile: Profile, address: str, question: Question) -> Answer:
    """Ask one question, unless this meter has refused it before. Raises NoReply, MeterRefused, LineDown."""
    remembered = line.refusals.recall(address, question.key, line.now_s())
    if remembered is not None:
        raise NoSuchData(f"{address} {question.key} (asked before)", remembered)
    talk = questions.talk(profile, question, address, line.transactions, rtu=_rtu(line, profile))
    try:
        answer = await line.talk(talk, Patience.of(profile.link))
    except (NoSuchData, NotAuthorised) as error:
        line.refusals.add(address, question.key, error.error, line.now_s())
        raise
    except NoReply as error:
        line.drops.update(error.drops)
        raise
    line.drops.update(answer.drops)
    return answer


def _rtu(line: Line, profile: Profile) -> bool:
    return line.url.rtu or profile.protocol == "modbus-rtu"


def _sample(wanted: frozenset[str], ticks: dict[str, int], tries: int, problems: list[str]) -> MeterSample:
    quality = Quality(0)
    if tries > 1:
        quality |= Quality.RETRY
    if not wanted <= ticks.keys():
        quality |= Quality.PARTIAL
    face = (ticks.get(channel.code) if channel.code in wanted else None for channel in CHANNELS)
    return MeterSample(tuple(face), int(quality), tuple(problems))
