"""Configuration errors name the variable and what is allowed; secrets may come from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.config import BadConfig, load_config
from cloud.lives import Life, NoSuchMove, deeds, step
from cloud.metering.device import GATEWAY


def test_one_variable_is_enough(tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("host=db\n")
    config = load_config({"SHOUDIAN_DSN_FILE": str(secret)})
    assert (config.dsn, config.broker.port, config.broker.mqtt_version, config.http_secure_cookies) == (
        "host=db",
        1883,
        5,
        True,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHOUDIAN_MQTT_VERSION", "4"),
        ("SHOUDIAN_HTTP_PORT", "70000"),
        ("SHOUDIAN_HTTP_PORT", "٨٠"),
        ("SHOUDIAN_GROUP_MESSAGES_MAX", "0"),
        ("SHOUDIAN_READING_PARTITION_DAYS", "30"),
        ("SHOUDIAN_BROKER_CA_FILE", "/nowhere/ca.crt"),
        ("SHOUDIAN_COMMAND_KEY_FILE", "/nowhere/cloud.key"),
        ("SHOUDIAN_DSN", ""),
    ],
)
def test_a_bad_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(BadConfig) as told:
        load_config({"SHOUDIAN_DSN": "host=db", variable: value})
    assert str(told.value).startswith(variable)
    assert "allowed: " in str(told.value)
    assert "\n" not in str(told.value)


def test_a_life_takes_its_moves_and_no_other() -> None:
    door = Life("door", {(None, "build"): "shut", ("shut", "open"): "open", ("open", "shut"): "shut"})
    assert step(door, step(door, step(door, None, "build"), "open"), "shut") == "shut"
    assert deeds(door, "open") == ("shut",)
    with pytest.raises(NoSuchMove):
        step(door, "open", "open")


def test_a_revoked_gateway_has_no_way_back() -> None:
    assert deeds(GATEWAY, "revoked") == ()
    states = {state for state, _ in GATEWAY.moves if state} | set(GATEWAY.moves.values())
    assert states == {"registered", "enrolled", "active", "suspect", "suspended", "revoked"}
    assert all("revoke" in deeds(GATEWAY, state) for state in states - {"revoked"})
