"""Make the project's own Python environment in `.venv` and keep it as the lock files say. Standard library only.

Used by `demo/run` and `tests/run`, before anything is installed. Everything is installed by hash; a second start with
the same lock file installs nothing. The environment is made anew when the checkout has moved or its Python is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STATE = ROOT / ".shoudian"
STEPS = 3
LINES_SHOWN_ON_FAILURE = 12


class CannotPrepare(Exception):
    """The environment cannot be made; the text is for a person and says what to do."""


def run(lock: Path, command: Sequence[str]) -> NoReturn:
    """Prepare the environment for `lock` and become `python *command` in it, with the checkout as working folder."""
    try:
        python = prepare(lock)
    except CannotPrepare as problem:
        sys.exit(f"\n{problem}")
    except OSError as problem:
        sys.exit(f"\n{problem.filename or ROOT}: {problem.strerror or problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    os.chdir(ROOT)
    os.environ.pop("PYTHONHOME", None)
    os.environ.pop("PYTHONPATH", None)
    sys.stdout.flush()
    os.execv(python, [str(python), *command])


def prepare(lock: Path) -> Path:
    """Bring `.venv` up to `lock` and give back its Python. Raises CannotPrepare, OSError."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / f".prepared-{lock.parent.name}"
    wanted = _wanted(lock)
    with _alone():
        if _is_ready(python, stamp, wanted):
            return python
        if not _works(python):
            _say(1, "建立 Python 环境 .venv / making the Python environment .venv")
            _make_environment()
            (ENVIRONMENT / ".made-at").write_text(str(ENVIRONMENT), encoding="utf-8")
        _say(2, f"安装依赖 / installing what {lock.relative_to(ROOT)} lists")
        _install(python, lock)
        _say(3, "安装本项目 / installing the project itself")
        _pip(python, ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _wanted(lock: Path) -> str:
    """Say what the environment must be made from: the checkout's place, its lock files, its own project file."""
    files = (lock, ROOT / "demo" / "build-locked.txt", ROOT / "pyproject.toml")
    return json.dumps(
        {"root": str(ROOT), **{f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}}
    )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time work on the environment."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    with (STATE / "bootstrap.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("等待另一个安装进程… / waiting for another installation…", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_ready(python: Path, stamp: Path, wanted: str) -> bool:
    return stamp.exists() and stamp.read_text(encoding="utf-8") == wanted and _works(python)


def _works(python: Path) -> bool:
    """Tell whether the environment has a Python that starts, is new enough, has pip, and belongs to this place."""
    made_at = ENVIRONMENT / ".made-at"
    if not python.exists() or (made_at.exists() and made_at.read_text(encoding="utf-8") != str(ENVIRONMENT)):
        return False
    question = "import sys, pip; print(sys.prefix, sys.version_info >= (3, 11), sep='\\n')"
    done = subprocess.run([python, "-I", "-c", question], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.splitlines() == [str(ENVIRONMENT), "True"]


def _make_environment() -> None:
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    if importlib.util.find_spec("ensurepip") is not None:
        try:
            venv.create(ENVIRONMENT, with_pip=True, symlinks=True)
            return
        except subprocess.CalledProcessError:  # Debian: the module is there, its wheels are not
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    for borrow in (_with_virtualenv, _with_pip_of_this_python):
        if borrow():
            return
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise CannotPrepare(
        "此 Python 缺少 venv/ensurepip。Debian/Ubuntu 请运行 / this Python lacks venv; on Debian or Ubuntu run\n"
        f"    sudo apt-get install python3-venv      (python{version}-venv)"
    )


def _with_virtualenv() -> bool:
    if importlib.util.find_spec("virtualenv") is None:
        return False
    return _succeeds([sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT)])


def _with_pip_of_this_python() -> bool:
    """Make an environment without pip and let this Python's pip (22.3 or newer) install one into it."""
    if importlib.util.find_spec("pip") is None:
        return False
    venv.create(ENVIRONMENT, with_pip=False, symlinks=True)
    python = str(ENVIRONMENT / "bin" / "python")
    return _succeeds([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"])


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, env=_clean_environment(), check=False).returncode == 0


def _install(python: Path, lock: Path) -> None:
    """Install everything by hash, the builder of our own project first."""
    _pip(python, ["--require-hashes", "--requirement", str(ROOT / "demo" / "build-locked.txt")])
    total = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
    _pip(python, ["--require-hashes", "--prefer-binary", "--requirement", str(lock)], total)


def _pip(python: Path, arguments: Sequence[str], total: int = 0) -> None:
    """Run pip and show how far it is. Raises CannotPrepare with pip's last lines."""
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "--no-warn-script-location", *arguments]
    seen: list[str] = []
    count = 0
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_clean_environment(),
        cwd=ROOT,
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            seen.append(line.rstrip())
            if line.startswith(("Collecting ", "Requirement already satisfied: ")):
                count += 1
                _show_progress(count, total, line)
    if sys.stdout.isatty() and total:
        print("\r\033[K", end="", flush=True)
    if pip.returncode != 0:
        last = "\n".join(f"    {line}" for line in seen[-LINES_SHOWN_ON_FAILURE:])
        raise CannotPrepare(
            f"{last}\n安装失败：请检查网络后重试 / installing failed: check the network and try again"
        )


def _show_progress(count: int, total: int, line: str) -> None:
    name = line.removeprefix("Collecting ").removeprefix("Requirement already satisfied: ").split()[0]
    if total and sys.stdout.isatty():
        print(f"\r\033[K      {min(count, total)}/{total}  {name[:50]}", end="", flush=True)
    elif total and count % 20 == 0:
        print(f"      {min(count, total)}/{total}  {name[:50]}", flush=True)


def _clean_environment() -> dict[str, str]:
    """Keep the person's pip settings except those that would install elsewhere than into our environment."""
    astray = (
        "PIP_USER",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_REQUIRE_VIRTUALENV",
        "PYTHONHOME",
        "PYTHONPATH",
    )
    return {name: value for name, value in os.environ.items() if name not in astray}


def _say(step: int, line: str) -> None:
    print(f"[{step}/{STEPS}] {line}", flush=True)
