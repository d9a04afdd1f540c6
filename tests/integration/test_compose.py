"""docker-compose.yml cannot be run here; everything about it that can be wrong without Docker is looked at."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cloud.config import load_config
from provisioning.broker import WORKER_NAMES

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("shoudian/")}
ONCE = ("ca", "broker-files", "worker-files", "migrate")
NAME = "gateways.example"


def filled(text: str) -> str:
    """Fill the variables in as compose does; all of ours are the server's name."""
    return re.sub(r"\$\{SHOUDIAN_SERVER_NAME:\?[^}]*\}", NAME, text)


def test_it_follows_the_compose_specification() -> None:
    text = (GOLDEN / "compose-spec.json").read_bytes()
    assert hashlib.sha256(text).hexdigest() in (GOLDEN / "compose-spec.md").read_text(encoding="utf-8")
    schema = json.loads(text)
    validator = jsonschema.Draft7Validator({**schema, "$schema": "http://json-schema.org/draft-07/schema#"})
    faults = [
        f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in validator.iter_errors(COMPOSE)
    ]
    assert not faults
    broken = {**COMPOSE, "services": {**SERVICES, "api": {**SERVICES["api"], "comand": "x"}}}
    assert list(validator.iter_errors(broken)), "the schema sees nothing"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_container_is_shut_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["networks"]
    if name not in ONCE:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory"} == set(limits)
    if name != "db":
        assert service["user"] == "10001:10001"


def test_images_are_pinned_and_secrets_are_files() -> None:
    for service in SERVICES.values():
        assert re.search(r":\d+\.\d+", service["image"]), service["image"]
    for secret in COMPOSE["secrets"].values():
        assert set(secret) == {"file"}
    for service in SERVICES.values():
        for variable in service.get("environment", {}):
            is_secret = any(word in variable for word in ("PASSWORD", "DSN", "KEY", "PEPPER"))
            assert not is_secret or variable.endswith("_FILE"), variable


def test_what_is_named_exists() -> None:
    for name, service in SERVICES.items():
        for other in service.get("depends_on", {}):
            assert other in SERVICES, name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), volume
        for secret in service.get("secrets", ()):
            assert secret in COMPOSE["secrets"]
        for network in service["networks"]:
            assert network in COMPOSE["networks"]
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).exists()


def test_a_service_that_waits_for_completion_waits_for_one_that_ends() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            ends = how["condition"] == "service_completed_successfully"
            assert ends is (other in ONCE), other
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]


def test_only_provisioning_holds_the_ca_key_and_can_change_it() -> None:
    with_ca = {
        name
        for name, service in SERVICES.items()
        if any(v.startswith("ca:") for v in service.get("volumes", ()))
    }
    assert with_ca == {"ca", "broker-files", "worker-files", "provisioning"}


def test_two_ingest_workers_have_certificates_that_the_broker_lets_read() -> None:
    workers = [service for name, service in SERVICES.items() if name.startswith("ingest-")]
    assert len(workers) == 2
    for service in workers:
        worker = service["command"][-1]
        assert worker in WORKER_NAMES
        assert service["environment"]["SHOUDIAN_BROKER_CERTIFICATE_FILE"] == f"/srv/workers/{worker}.crt"
        assert service["environment"]["SHOUDIAN_BROKER_KEY_FILE"] == f"/srv/workers/{worker}.key"


class Environment(dict[str, str]):
    """An environment that notes which variables are looked at."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


@pytest.mark.parametrize("name", sorted(name for name in OURS if "environment" in OURS[name]))
def test_every_variable_is_one_that_the_configuration_reads_and_accepts(name: str, tmp_path: Path) -> None:
    given = {}
    for variable, value in OURS[name]["environment"].items():
        assert isinstance(value, str), variable
        if variable.endswith("_FILE"):  # a file of the container: one of the same name here
            value = str(tmp_path / Path(value).name)
            Path(value).write_text("5e" * 32 if value.endswith("sealing_key") else "host=db dbname=shoudian")
        given[variable] = value
    environment = Environment(given)
    load_config(environment)
    assert set(given) <= environment.asked


def test_who_reads_a_secret_is_given_it_and_nobody_else() -> None:
    for name, service in SERVICES.items():
        told = " ".join([*map(str, service.get("environment", {}).values()), *service.get("command", ())])
        assert set(re.findall(r"/run/secrets/(\w+)", told)) == set(service.get("secrets", ())), name
    documented = (ROOT / "docs/operations/compose.md").read_text(encoding="utf-8")
    assert all(f"secrets/{secret}" in documented for secret in COMPOSE["secrets"])


def test_pages_and_worker_keep_documents_in_one_folder() -> None:
    office = [SERVICES[name] for name in ("api", "worker")]

    assert {service["environment"]["SHOUDIAN_FILES_FOLDER"] for service in office} == {"/srv/files"}
    assert all("files:/srv/files" in service["volumes"] for service in office)


def our_commands() -> Iterator[tuple[str, list[str]]]:
    for name, service in sorted(OURS.items()):
        yield name, [filled(part) for part in service["command"]]
        if service.get("healthcheck"):
            yield f"{name} healthcheck", [filled(part) for part in service["healthcheck"]["test"][1:]]


@pytest.mark.parametrize(("name", "command"), list(our_commands()))
def test_every_command_is_one_that_the_program_understands(
    name: str, command: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's own argument parser reads the line; only what it would then do is left out."""
    understood: list[argparse.Namespace] = []

    class Understood(Exception):
        pass

    real = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, *arguments: Any) -> None:
        understood.append(real(self, *arguments))
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    main, rest = entry_point(command)
    monkeypatch.setattr("sys.argv", [command[0], *rest])
    with pytest.raises(Understood):
        main()
    assert understood


def entry_point(command: Sequence[str]) -> tuple[Any, list[str]]:
    """Find what pyproject.toml says the program is, or the module after `python -m`."""
    if command[:2] == ["python", "-m"]:
        return importlib.import_module(command[2]).main, list(command[3:])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, _, function = scripts[command[0]].partition(":")
    return getattr(importlib.import_module(module), function), list(command[1:])


def test_a_wrong_command_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, _ = entry_point(["shoudian-cloud"])
    monkeypatch.setattr("sys.argv", ["shoudian-cloud", "ingets"])
    with pytest.raises(SystemExit):
        main()
    assert "ingets" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["cloud/Dockerfile", "edge_agent/Dockerfile"])
def test_a_dockerfile_copies_what_is_there_and_runs_as_nobody_special(path: str) -> None:
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    arguments = {"${EXTRA_LOCK}": "edge_agent/locked.txt"}
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in shlex.split(line)[1:-1]:
                assert (ROOT / arguments.get(source, source)).exists(), line
    assert [line for line in lines if line.startswith("USER")] == ["USER shoudian"]
    assert any("--uid 10001" in line for line in lines)
    mounted = {
        target
        for service in SERVICES.values()
        if service.get("build", {}).get("dockerfile") == path
        for volume in service.get("volumes", ())
        if (target := volume.split(":")[1]).startswith("/srv/")
    }
    made = next(line for line in lines if "install -d" in line)
    assert all(folder in made.split() for folder in mounted)
