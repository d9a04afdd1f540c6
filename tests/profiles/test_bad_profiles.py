"""A profile that can't be used is refused with its file, its key, and what is allowed there."""

from importlib import resources
from pathlib import Path

import pytest

from edge_agent.profile import BadProfile, profile_from
from firmware_profiles import load_profiles


def text_of(name: str) -> str:
    return (resources.files("firmware_profiles") / "meters" / f"{name}.toml").read_text(encoding="utf-8")


DLT645 = text_of("cn.generic.dlt645-2007.3p4w")
ACREL = text_of("cn.acrel.adl400")


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (DLT645, 'schema = "', 'schema = "x', "schema: 'xshoudian.profile/1' is not one of shoudian.profile/1"),
        (DLT645, "dlt645-2007\"\nv", "dlt645-2077\"\nv", "protocol: 'dlt645-2077' is not one of dlt645-2007, dlt645-1997"),
        (DLT645, "retries = 2", "retires = 2", "link.retires: unknown key; allowed: backoff_s, baud"),
        (DLT645, "retries = 2", "retries = -1", "link.retries: -1 given, at least 0"),
        (DLT645, "retries = 2", "retries = true", "link.retries: True given, an integer is allowed"),
        (DLT645, "retries = 2", 'retries = "2"', "link.retries: '2' given, an integer is allowed"),
        (DLT645, 'parity = "E"', 'parity = "X"', "link.parity: 'X' is not one of N, E, O"),
        (DLT645, 'code = "ea_imp"', 'code = "energy"', "channel[0].code: 'energy' is not one of ea_imp"),
        (DLT645, 'unit = "kWh"', 'unit = "Wh"', "channel[0].unit: 'Wh' given, ea_imp is in 'kWh'"),
        (DLT645, "decimals = 2", "decimals = 5", "channel[0].decimals: 5 given, ea_imp carries at most 4"),
        (DLT645, "999_999.99]", "999_999.999]", "channel[0].range: 999999.999 is finer than the channel's 2 decimals"),
        (DLT645, "range = [0, 999_999.99]", "range = [5, 1]", "channel[0].range: two numbers, the lowest first"),
        (DLT645, "range = [0, 999_999.99]\n", "", "channel[0].range: is missing"),
        (DLT645, 'kind = "counter"', 'kind = "gauge"', "channel[0].billing: only a counter"),
        (DLT645, "rollover = 1_000_000", "", "channel[0].rollover: a counter has one above 0"),
        (DLT645, 'di = "00010000"', 'di = "10000"', "channel[0].di: '10000' does not look like"),
        (DLT645, 'di = "00010000"', 'di = "9010"', "di: dlt645-2007 has DIs of 8 hex digits"),
        (DLT645, 'format = "bcd4"', 'format = "bcd9"', "channel[0].format: 'bcd9' is not one of bcd1"),
        (DLT645, 'code = "ea_exp"', 'code = "ea_imp"', "channel: ea_imp is described twice"),
        (DLT645, '["u_a", "u_b", "u_c"]', '["u_a"]', "block[0].gives: at least two channels of one format"),
        (DLT645, '["u_a", "u_b", "u_c"]', '["u_a", "i_a"]', "block[0].gives: at least two channels of one format"),
        (DLT645, "items = 3", "items = 2", "block[0].items: fewer than the 3 channels"),
        (DLT645, 'every = "15m"', 'every = "7m"', "group[0].every: an aligned group divides the day"),
        (DLT645, 'every = "15m"', 'every = "often"', "group[0].every: 'often' does not look like"),
        (DLT645, '"er_exp", "md_imp"', '"er_exp", "md"', "group[0].channels: md has no [[channel]]; known: ea_imp"),
        (DLT645, '"123456.78"', '"12,5"', "frames[0].expect.ea_imp: '12,5' is not a decimal number"),
        (ACREL, "fc = 3", "fc = 5", "channel[0].fc: 5 is not one of 3, 4"),
        (ACREL, "fc = 3", 'fc = 3\ndi = "00010000"', "channel[0].di: unknown key"),
        (ACREL, "scale = 0.01", "scale = 0.001", "channel[0].scale: 0.001 is finer than the channel's 2 decimals"),
        (ACREL, "scale = 0.01", 'scale = 0.01\nmissing = ["FFFF"]', "channel[0].missing: 'FFFF' is not 8 hex digits"),
        (ACREL, "retries = 2", "retries = 2\nforbidden = [[5, 5]]", "link.forbidden: [5, 5]: first register before"),
    ],
)  # fmt: skip
def test_refusal_names_file_key_and_what_is_allowed(text: str, old: str, new: str, said: str) -> None:
    assert old in text

    with pytest.raises(BadProfile) as refused:
        profile_from(text.replace(old, new, 1), "meter.toml")

    assert f"meter.toml: {said}" in str(refused.value)


def test_text_that_is_no_toml_is_refused() -> None:
    with pytest.raises(BadProfile, match=r"meter\.toml: file: not TOML"):
        profile_from("schema = ", "meter.toml")


def test_profile_without_golden_frames_is_refused() -> None:
    with pytest.raises(BadProfile, match="frames: is missing"):
        profile_from(DLT645.partition("[[frames]]")[0], "meter.toml")


def test_own_folder_adds_profiles_and_replaces_by_id(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        DLT645.replace('version = "1.0.0"', 'version = "1.0.1"'), encoding="utf-8"
    )

    found = load_profiles(tmp_path)

    assert found["cn.generic.dlt645-2007.3p4w"].version == "1.0.1"
    assert "cn.acrel.adl400" in found


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(DLT645, encoding="utf-8")
    (tmp_path / "two.toml").write_text(DLT645, encoding="utf-8")

    with pytest.raises(BadProfile, match=r"two\.toml: id: cn\.generic\.dlt645-2007\.3p4w is already"):
        load_profiles(tmp_path)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="is not a folder"):
        load_profiles(tmp_path / "none")


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BadProfile, match=r"noise\.toml: file: can't be read"):
        load_profiles(tmp_path)
