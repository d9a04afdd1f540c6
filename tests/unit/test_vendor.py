"""The browser libraries are exactly the pinned ones, each with its licence, and pages load nothing from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from cloud import api

STATIC = Path(api.__file__).parent / "static"
VENDOR = STATIC / "vendor"
ENTRIES = json.loads((VENDOR / "vendor.json").read_text("utf-8"))
ELSEWHERE = re.compile(r"""(?:src|href|url|@import|action)\s*[=(]?\s*["']?(?:https?:)?//""")


def test_every_file_has_its_pinned_hash() -> None:
    found = {
        entry["file"]: hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() for entry in ENTRIES
    }

    assert found == {entry["file"]: entry["sha256"] for entry in ENTRIES}


def test_nothing_else_is_in_the_folder() -> None:
    assert {path.name for path in VENDOR.iterdir() if path.is_file()} == {
        "vendor.json",
        "refresh.py",
        *(entry["file"] for entry in ENTRIES),
    }


def test_every_package_brings_its_licence() -> None:
    packages = {entry["package"] for entry in ENTRIES}

    assert packages == {entry["package"] for entry in ENTRIES if entry["source"] == "LICENSE"}
    assert {entry["licence"] for entry in ENTRIES} <= {"0BSD", "MIT"}


def test_templates_and_styles_name_no_other_host() -> None:
    ours = [*(STATIC.parent / "templates").rglob("*.html"), STATIC / "app.css", STATIC / "app.js"]

    assert [path.name for path in ours if ELSEWHERE.search(path.read_text("utf-8"))] == []


def test_templates_have_no_inline_script_style_or_handler() -> None:
    inline = re.compile(r"""<style|<script(?![^>]*\bsrc=)|\sstyle\s*=|\son[a-z]+\s*=\s*["']""")
    ours = (STATIC.parent / "templates").rglob("*.html")

    assert [path.name for path in ours if inline.search(path.read_text("utf-8"))] == []
