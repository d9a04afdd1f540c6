"""`shoudian-agent` as a process: check reads real sockets, run ends cleanly on SIGTERM, status tells what happened."""

import asyncio
import signal
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edge_agent.drivers.sim import Dlt645Slave, SimMeter, StillFace
from edge_agent.drivers.simline import serve_tcp
from firmware_profiles import load_profiles

PROFILE = "cn.generic.dlt645-2007.3p4w"
FACE = {"ea_imp": 12_345_678, "p": -12_345, "u_a": 2_299, "i_a": 5_012, "freq": 5_001}


def slave():
    return Dlt645Slave([SimMeter(load_profiles()[PROFILE], "000000000001", StillFace(FACE))])


@pytest.fixture
def folder(tmp_path):
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "signing.key").write_bytes(private)
    (tmp_path / "cloud.pub").write_bytes(public)
    return tmp_path


def configured(folder, meter_port, broker_port, *, meters=1):
    text = f"""
gateway_id = "GW001"
data_dir = "data"
[identity]
signing_key = "signing.key"
cloud_public_key = "cloud.pub"
[broker]
host = "127.0.0.1"
port = {broker_port}
tls = false
[[port]]
name = "p1"
url = "tcp://127.0.0.1:{meter_port}"
"""
    for number in range(1, meters + 1):
        text += f'[[meter]]\nmeter_id = "M{number}"\nport = "p1"\nprofile = "{PROFILE}"\n'
        text += f'address = "{number:012d}"\n'
    (folder / "agent.toml").write_text(text)
    return str(folder / "agent.toml")


async def command(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edge_agent",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def told(*arguments):
    process = await command(*arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def test_check_reads_every_meter_once_and_says_which_is_silent(folder, free_port):
    async def scenario():
        async with await serve_tcp(slave) as server:
            file = configured(folder, server.sockets[0].getsockname()[1], free_port(), meters=2)
            return await told("check", "--config", file)

    code, out, _ = asyncio.run(scenario())

    assert code == 1
    lines = out.splitlines()
    assert (
        next(line for line in lines if line.startswith("M1")).count("ea_imp 123456.78 kWh, p -1.2345 kW") == 1
    )
    assert "无应答 no reply" in next(line for line in lines if line.startswith("M2"))


def test_check_of_a_line_that_is_refused_is_a_row_and_no_traceback(folder, free_port):
    file = configured(folder, free_port(), free_port())

    code, out, err = asyncio.run(told("check", "--config", file))

    assert code == 1
    assert "线路不通 line down" in out
    assert "Traceback" not in err


def test_run_without_a_broker_polls_and_stores_and_ends_cleanly_on_sigterm(folder, free_port):
    async def scenario():
        async with await serve_tcp(slave) as server:
            file = configured(folder, server.sockets[0].getsockname()[1], free_port())
            process = await command("run", "--config", file)
            async with asyncio.timeout(40):
                while not (folder / "data" / "state.json").exists():
                    await asyncio.sleep(0.05)
                await asyncio.sleep(2)
            process.send_signal(signal.SIGTERM)
            _, err = await process.communicate()
            code, out, _ = await told("status", "--config", file)
            return process.returncode, err.decode(), code, out

    returned, err, code, out = asyncio.run(scenario())

    assert returned == 0, err
    assert "link.lost" in err
    assert "Traceback" not in err
    assert code == 0
    meter = next(line for line in out.splitlines() if line.startswith("M1"))
    assert "never" not in meter
    assert "尚未授予 not granted yet" in out


def test_a_second_agent_on_the_same_folder_is_refused_in_one_line(folder, free_port):
    async def scenario():
        file = configured(folder, free_port(), free_port())
        first = await command("run", "--config", file)
        async with asyncio.timeout(40):
            while not (folder / "data" / "state.json").exists():
                await asyncio.sleep(0.05)
        code, _, err = await told("run", "--config", file)
        first.send_signal(signal.SIGTERM)
        await first.communicate()
        return first.pid, code, err

    pid, code, err = asyncio.run(scenario())

    assert code == 2
    assert err.splitlines()[-1].endswith(f"another agent (process {pid}) uses this folder")
    assert "Traceback" not in err
