"""Devices are data: one TOML file per meter model under `meters/`, read by `edge_agent.profile`."""

from importlib import resources
from pathlib import Path

from edge_agent.profile import BadProfile, Profile, profile_from


def load_profiles(folder: Path | None = None) -> dict[str, Profile]:
    """Read every profile of the package, and those of `folder` over them. Raises BadProfile."""
    found = _profiles_in(resources.files(__name__) / "meters")
    if folder is not None:
        if not folder.is_dir():
            raise BadProfile(str(folder), "folder", "is not a folder that can be read")
        found |= _profiles_in(folder)
    return found


def _profiles_in(folder: "resources.abc.Traversable | Path") -> dict[str, Profile]:
    found: dict[str, Profile] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".toml"):
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadProfile(file.name, "file", f"can't be read: {error}") from error
        profile = profile_from(text, file.name)
        if profile.id in found:
            raise BadProfile(file.name, "id", f"{profile.id} is already the id of another file here")
        found[profile.id] = profile
    return found
