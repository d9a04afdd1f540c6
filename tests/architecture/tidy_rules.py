"""Rules about our own code that no linter knows. Each takes the text of a file and gives back what is wrong, by line.

Adding a word to a list below is a decision: say in the commit why the word needs no unit, or why the file may look at
the clock.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

# Endings that say in what a number is counted.
UNITS = frozenset(
    [
        "wh",
        "kwh",
        "varh",
        "kvarh",
        "w",
        "kw",
        "kvar",
        "kva",
        "v",
        "a",
        "hz",
        "fen",
        "yuan",
        "month",
        "months",
        "unit",
        "ticks",
        "ms",
        "s",
        "days",
        "hours",
        "minutes",
        "bytes",
        "bits",
        "pct",
        "percent",
        "permille",
        "ratio",
        "rate",
        "factor",
    ]
)
# Endings of numbers that count or name things, or stand on a scale that a model defines, and have no unit of their own. `_max` and `_min` are looked behind.
COUNTS = frozenset(
    [
        "address",
        "at_once",
        "batches",
        "column",
        "control",
        "count",
        "decimals",
        "digits",
        "epoch",
        "fc",
        "fe",
        "exceptions",
        "failed",
        "follow",
        "freezes",
        "function",
        "generation",
        "id",
        "items",
        "key",
        "multiplier",
        "no",
        "ok",
        "quality",
        "read",
        "readings",
        "register_gap",
        "registers",
        "retries",
        "reverses",
        "revision",
        "rows",
        "scale",
        "schema",
        "score",
        "seq",
        "slot",
        "slots",
        "source",
        "standard",
        "stream",
        "tries",
        "unacked",
        "unanswered",
        "until",
        "upto",
        "version",
        "weight",
        "z",
        "without",
        "watch",
        "stop",
        "segments",
        "replaces",
        "priority",
        "ppm",
        "points",
        "period",
        "number",
        "magnitude",
        "hhi",
        "below",
        "at_least",
        "alarm",
        "above",
    ]
)
# Whole names: a power factor has no unit; the other says its unit in front.
NAMES = frozenset({"power_factor_quantum", "days_of_month_charge", "due_working_day"})
STATISTICS = frozenset(
    {"cloud/market/portfolio.py"}
)  # a risk model: quantiles are shown, no amount is booked
POSITIONS = frozenset({"start", "end", "low", "high"})  # int only: half-open positions, bounds of a named key
OF_THE_UNIT = frozenset(
    {"value", "quantity", "start", "end", "before", "after"}
)  # beside a field named `unit`

KINDS_OF_FILE = frozenset(
    [
        "base",
        "common",
        "data",
        "handle",
        "handler",
        "handlers",
        "helper",
        "helpers",
        "info",
        "manager",
        "managers",
        "misc",
        "process",
        "service",
        "services",
        "tools",
        "util",
        "utils",
    ]
)
# Composition roots and rims: the only places that look at a clock (architecture, section 8).
CLOCKS = (
    "cloud/__main__.py", "cloud/commands/__init__.py", "cloud/jobs.py", "cloud/api/who.py", "cloud/api/app.py", "cloud/outside/gateways.py",
    "edge_agent/__main__.py", "edge_agent/poll.py", "edge_agent/link.py", "provisioning/__main__.py",
)  # fmt: skip
PRODUCTION = ("cloud/", "edge_agent/", "provisioning/", "firmware_profiles/")
MACHINE_PATH = re.compile("/(" + "|".join(("work", "root", "home", "Users")) + r")/\w")

PURE_GROUND = frozenset(
    {"cloud.errors", "cloud.lives", "cloud.markettime", "cloud.money"}
    | {f"edge_agent.{name}" for name in ("clock", "plan")}
    | {f"provisioning.{name}" for name in ("broker", "bundle", "check", "identity", "words")}
)
ROOMS = ("security", "parties", "metering", "contracts", "market", "billing", "care", "insight")
DRIVER_SHELLS = ("bus", "read", "simline")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it should be."""

    line: int
    what: str


Rule = Callable[[str, str], list[Fault]]  # (path in the checkout, text)


def file_length(path: str, text: str) -> list[Fault]:
    lines = text.count("\n")
    return [Fault(lines, f"{lines} lines, at most {FILE_LINES_MAX}")] if lines > FILE_LINES_MAX else []


def function_length(path: str, text: str) -> list[Fault]:
    return [
        Fault(node.lineno, f"{node.name} has {_lines(node)} lines, at most {FUNCTION_LINES_MAX}")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > FUNCTION_LINES_MAX
    ]


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def module_docstring(path: str, text: str) -> list[Fault]:
    tree = ast.parse(text)
    return [Fault(1, "no module docstring")] if tree.body and not ast.get_docstring(tree) else []


def file_name(path: str, text: str) -> list[Fault]:
    """A file is named after what it holds, not after a kind of code."""
    stem = PurePosixPath(path).stem
    return [Fault(1, f"{stem} names a kind, not a thing")] if stem in KINDS_OF_FILE else []


def machine_path(path: str, text: str) -> list[Fault]:
    return [
        Fault(number, f"a path of one machine: {found[0]}…")
        for number, line in enumerate(text.splitlines(), 1)
        if (found := MACHINE_PATH.search(line))
    ]


def clock(path: str, text: str) -> list[Fault]:
    """Outside of the composition roots an instant is a parameter."""
    if path in CLOCKS:
        return []
    return [
        Fault(node.lineno, f"looks at the clock: .{node.func.attr}()")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("now", "utcnow", "today")
        and isinstance(node.func.value, ast.Name | ast.Attribute)
        and _last_name(node.func.value) in ("datetime", "date")
    ]


def _last_name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def no_float(path: str, text: str) -> list[Fault]:
    """The core counts in int and Decimal. `round` has a hidden rule (half to even); `money` has the open one."""
    if path in STATISTICS:
        return []
    faults = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            faults.append(Fault(node.lineno, f"a float: {node.value}"))
        elif isinstance(node, ast.Name) and node.id in ("float", "round"):
            faults.append(Fault(node.lineno, node.id))
    return faults


def unit_suffix(path: str, text: str) -> list[Fault]:
    """Every int and Decimal field of a dataclass says in its name what it is counted in."""
    faults = []
    for owner in ast.walk(ast.parse(text)):
        if isinstance(owner, ast.ClassDef) and _is_dataclass(owner):
            fields = list(_number_fields(owner))
            names = {node.target.id for node in _fields(owner) if isinstance(node.target, ast.Name)}
            faults += [
                Fault(line, f"{owner.name}.{name} has no unit")
                for line, name, kind in fields
                if not _says_unit(name, kind, "unit" in names)
            ]
    return faults


def _is_dataclass(owner: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in owner.decorator_list)


def _fields(owner: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    return (node for node in owner.body if isinstance(node, ast.AnnAssign))


def _number_fields(owner: ast.ClassDef) -> Iterator[tuple[int, str, str]]:
    for node in _fields(owner):
        kind = ast.unparse(node.annotation).removesuffix(" | None")
        if kind in ("int", "Decimal") and isinstance(node.target, ast.Name):
            yield node.lineno, node.target.id, kind


def _says_unit(name: str, kind: str, has_unit_beside: bool) -> bool:
    bare = name.removeprefix("max_").removesuffix("_max").removesuffix("_min")
    last = bare.split("_")[-1]
    return (
        last in UNITS | COUNTS
        or (
            last == "mwh" and kind == "Decimal"
        )  # the market's MWh with decimals; an int would be milli or mega
        or bare in COUNTS | NAMES
        or (kind == "int" and last in POSITIONS)
        or (has_unit_beside and last in OF_THE_UNIT)
    )


def allow_first(path: str, text: str) -> list[Fault]:
    """A public shell that acts for somebody begins by asking whether it may."""
    if "/run" not in path:
        return []
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    # A private function of the same file that begins with allow(…) may be what the public one begins with.
    asking = {"allow"} | {node.name for node in functions if "allow" in _called_first(node)}
    return [
        Fault(node.lineno, f"{node.name} takes an actor and does not begin with allow(…)")
        for node in functions
        if _acts_for_somebody(node) and not asking & _called_first(node)
    ]


def _called_first(node: ast.FunctionDef) -> set[str]:
    """Names of what is called before anything is done: who the subject belongs to may be looked up before."""
    called: set[str] = set()
    for each in node.body[1:] if ast.get_docstring(node) else node.body:
        calls = (inner for inner in ast.walk(each) if isinstance(inner, ast.Call))
        called |= {ast.unparse(inner.func).split(".")[-1] for inner in calls}
        is_look = isinstance(each, ast.Assign) or (
            isinstance(each, ast.If) and all(isinstance(inner, ast.Raise) for inner in each.body)
        )
        if not is_look:
            break
    return called


def _acts_for_somebody(node: ast.FunctionDef) -> bool:
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    kinds = {ast.unparse(a.annotation) for a in arguments if a.annotation is not None}
    return {"Conn", "Actor"} <= kinds and node.name != "allow" and not node.name.startswith(("_", "may_"))


def pure_by_habit(paths: Iterable[str]) -> set[str]:
    """Compute from file names which modules are pure: in a room everything but `run` and `store` is."""
    return {module for path in paths if (module := _module(path)) and _is_pure(module)}


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_pure(module: str) -> bool:
    parts = module.split(".")
    if module in PURE_GROUND:
        return True
    if parts[0] == "cloud" and len(parts) >= 3 and parts[1] in ROOMS:
        return parts[2] not in ("run", "store", "published")
    if parts[0] == "edge_agent" and len(parts) >= 2:
        if parts[1] == "drivers":
            return len(parts) == 3 and parts[2] not in DRIVER_SHELLS
        return parts[1] == "profile" or (parts[1] == "wire" and len(parts) == 3)
    return False
