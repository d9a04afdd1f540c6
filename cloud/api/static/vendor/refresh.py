"""Put the pinned browser libraries into this folder again, from the npm packages named in vendor.json.

    python cloud/api/static/vendor/refresh.py            fetch each package with `npm pack`, take its files, check
    python cloud/api/static/vendor/refresh.py --repin    the same, and write the new hashes after changing a version

Needed only when a version in vendor.json is raised; nothing of npm or Node is needed to run or test the system.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MANIFEST = HERE / "vendor.json"


def main() -> None:
    """Fetch all packages of the manifest; stop at the first file whose hash is not the pinned one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repin", action="store_true", help="write the hashes found into vendor.json")
    repin: bool = parser.parse_args().repin
    entries: list[dict[str, Any]] = json.loads(MANIFEST.read_text("utf-8"))
    for package, version in sorted({(entry["package"], entry["version"]) for entry in entries}):
        with tempfile.TemporaryDirectory() as folder:
            archive = _pack(package, version, Path(folder))
            wanted = [entry for entry in entries if entry["package"] == package]
            for entry in wanted:
                _take(archive, entry, repin)
    if repin:
        MANIFEST.write_text(json.dumps(entries, indent=2) + "\n", "utf-8")


def _pack(package: str, version: str, folder: Path) -> Path:
    subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True)
    return next(folder.glob("*.tgz"))


def _take(archive: Path, entry: dict[str, Any], repin: bool) -> None:
    with tarfile.open(archive) as packed:
        member = packed.extractfile(f"package/{entry['source']}")
        if member is None:
            raise SystemExit(f"{entry['package']}: {entry['source']} is not a file of the package")
        content = member.read()
    found = hashlib.sha256(content).hexdigest()
    if repin:
        entry["sha256"] = found
    elif found != entry["sha256"]:
        raise SystemExit(f"{entry['file']}: sha256 is {found}, vendor.json says {entry['sha256']}")
    (HERE / entry["file"]).write_bytes(content)


if __name__ == "__main__":
    main()
