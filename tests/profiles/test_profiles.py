"""Every profile loads, polls only what it has, and its golden frames mean to the real driver what they say."""

import itertools
import json
import tomllib
from decimal import Decimal
from importlib import resources

import jsonschema
import pytest

from edge_agent.drivers import dlt645, questions
from edge_agent.drivers.values import Missing
from edge_agent.profile import GoldenFrame, Profile, bundle_sha256, schema
from edge_agent.wire.batch import CHANNELS
from firmware_profiles import load_profiles

PROFILES = load_profiles()
FRAMES = [pytest.param(p, f, id=f"{p.id}-{n}") for p in PROFILES.values() for n, f in enumerate(p.frames)]


def address_in(profile: Profile, frame: GoldenFrame) -> str:
    if profile.protocol.startswith("dlt645"):
        (request,) = dlt645.FrameReader().feed(frame.tx)
        return request.address
    return str(frame.tx[6])


@pytest.mark.parametrize(("profile", "frame"), FRAMES)
def test_golden_frame_is_asked_and_understood(profile: Profile, frame: GoldenFrame) -> None:
    (question,) = questions.questions(profile, [code for code, _ in frame.expect])
    transactions = itertools.count(int.from_bytes(frame.tx[:2], "big"))
    talk = questions.talk(profile, question, address_in(profile, frame), transactions, rtu=False)

    asked = next(talk)
    with pytest.raises(StopIteration) as done:
        talk.send(frame.rx)

    assert asked == frame.tx
    read = dict(
        zip(
            (c.code for c in question.channels),
            questions.decoded(question, done.value.value.data),
            strict=True,
        )
    )
    for code, expected in frame.expect:
        value = read[code]
        if expected is None:
            assert isinstance(value, Missing)
        else:
            assert not isinstance(value, Missing)
            assert Decimal(value).scaleb(-profile.channel(code).decimals) == expected


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.id)
def test_profile_can_bill_and_show(profile: Profile) -> None:
    billing = profile.group("bill15")

    assert (billing.every_s, billing.aligned) == (900, True)
    assert {c.code for c in profile.channels if c.billing} <= set(billing.channels)
    assert profile.group("live").channels
    assert profile.caveats


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.id)
def test_golden_frames_cover_every_kind_of_channel(profile: Profile) -> None:
    covered = {code for frame in profile.frames for code, _ in frame.expect}
    kinds = {(c.format or (c.type, c.fc)) for c in profile.channels if c.code in covered}

    if profile.protocol.startswith("modbus"):
        assert covered == set(profile.codes)
    else:
        assert {"bcd4", "bcd2", "sbcd3"} <= kinds


def test_decimals_follow_the_catalogue() -> None:
    for profile in PROFILES.values():
        assert len(profile.decimals) == len(CHANNELS)
        assert all(mine <= channel.decimals for mine, channel in zip(profile.decimals, CHANNELS, strict=True))


def test_schema_file_is_drawn_from_the_reader() -> None:
    file = resources.files("firmware_profiles") / "profile.schema.json"

    assert json.loads(file.read_text(encoding="utf-8")) == schema()


def test_schema_accepts_every_profile_and_refuses_an_unknown_key() -> None:
    checker = jsonschema.Draft202012Validator(schema())
    for file in (resources.files("firmware_profiles") / "meters").iterdir():
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        assert checker.is_valid(raw), file.name
        assert not checker.is_valid(raw | {"colour": "grey"})


def test_bundle_hash_changes_with_any_profile_and_not_with_their_order() -> None:
    profiles = list(PROFILES.values())

    assert bundle_sha256(profiles) == bundle_sha256(reversed(profiles))
    assert bundle_sha256(profiles) != bundle_sha256(profiles[1:])
