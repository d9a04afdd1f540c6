"""One simulated site against a real cloud: the meters of one gateway, and a real agent that enrols itself and reads them.

    python -m demo.site --url https://provisioning:8443 --label-file FILE --home DIR
    python -m demo.site --write-site-file site.toml        # what the cloud must know first: shoudian-cloud import

The gateway is one of the demonstration's; its label comes from `shoudian-provision claim GW-A001`.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import signal
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from cloud.errors import Refused, Unavailable
from demo.files import agent_text, site_text
from demo.meters import serve_meters
from demo.world import SITES
from provisioning.gateway import enrol_here
from provisioning.identity import Label, label_from
from provisioning.words import sentence


class NoSuchSite(Exception):
    """The label's gateway has no meters in the demonstration."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one site until told to stop; an expected failure is one line in each language and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="demo.site", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="enrolment server, https://HOST:8443")
    parser.add_argument("--label-file", type=Path, help="file with the label's text, EGW1:…")
    parser.add_argument("--home", type=Path, help="folder for keys, configuration and store")
    parser.add_argument("--broker-host", help="reach the broker here instead of where enrolment says")
    parser.add_argument(
        "--write-site-file", type=Path, metavar="FILE", help="only write the site file and end"
    )
    given = parser.parse_args(argv)
    if given.write_site_file is not None:
        given.write_site_file.write_text(site_text(), encoding="utf-8")
        return 0
    if not (given.url and given.label_file and given.home):
        parser.error("--url, --label-file and --home are needed")
    try:
        label = label_from(given.label_file.read_text(encoding="ascii"))
        return asyncio.run(run(given.url, label, given.home, given.broker_host, _now))
    except (Refused, Unavailable) as problem:
        told = problem.facts
        zh, en = (told["zh"], told["en"]) if "zh" in told else sentence(problem.key, told)
        print(f"{zh}\n{en}", file=sys.stderr)
    except (NoSuchSite, OSError) as problem:
        print(problem, file=sys.stderr)
    return 2


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251  # a composition root


async def run(
    url: str, label: Label, home: Path, broker_host: str | None, clock: Callable[[], dt.datetime]
) -> int:
    """Serve the gateway's meters and run its agent; give back the agent's exit code. Raises NoSuchSite."""
    sites = [site for site in SITES if site.gateway_id == label.serial]
    if not sites:
        known = ", ".join(sorted({site.gateway_id for site in SITES}))
        raise NoSuchSite(f"演示中没有网关 {label.serial} / no such gateway here; there are: {known}")
    config = home / "agent" / "agent.toml"
    if not config.exists():
        done = enrol_here(url, label, config.parent, clock)
        print(f"{done.gateway_id} 已入网 / is enrolled, epoch {done.epoch}", flush=True)
    park = await serve_meters(sites)
    try:
        _complete(config, label.serial, park.urls[label.serial], broker_host)
        return await _agent(config)
    finally:
        await park.close()


def _complete(config: Path, gateway_id: str, urls: dict[str, str], broker_host: str | None) -> None:
    """Write today's lines into agent.toml: the simulated meters listen on other ports after each start."""
    enrolled = config.read_text(encoding="utf-8")
    broker = tomllib.loads(enrolled)["broker"]
    text = agent_text(enrolled, gateway_id, urls, broker["port"], broker["mqtt_version"])
    if broker_host is not None:
        text = text.replace(f'host = "{broker["host"]}"', f'host = "{broker_host}"')
    part = config.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o600)
    part.replace(config)


async def _agent(config: Path) -> int:
    """Run `shoudian-agent run` until it ends or we are told to stop."""
    command = (sys.executable, "-P", "-m", "edge_agent", "run", "--config", str(config))
    agent = await asyncio.create_subprocess_exec(*command, env=dict(os.environ))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.terminate)
    return await agent.wait()


if __name__ == "__main__":
    sys.exit(main())
