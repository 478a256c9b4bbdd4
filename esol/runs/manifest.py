"""Manifest: what a stage was made from, what made it, and which files are its outputs."""

import hashlib
import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from esol import __version__
from esol.errors import InputError, spelled
from esol.system.files import TEMPORARY, write_json
from esol.system.read import read_json

CHECKPOINT = "checkpoint-"
"""Beginning of the names of training checkpoints, which are not outputs."""

SIZES = "sizes.json"
"""Size in bytes of every output, written just before the manifest."""

OTHER_CONTENTS = "other contents of "
"""Begins a difference of digests."""

UNSAID: dict[str, Any] = {"machine": {"precision": "no"}}
"""What an identity without such a group means: versions up to 0.1.0 did this, and said nothing."""

NOT_OUTPUTS = ("identity.json", "manifest.json", "settings.yaml", "log.txt", SIZES)

# With what is in them, at any depth. Photos, too, may be called checkpoint-3.jpg.
_CHECKPOINTS = re.compile(rf"(^|/){CHECKPOINT}\d{{8}}/")


def is_manifest(content: Any) -> bool:
    """Whether there is what every manifest has."""
    match content:
        case {
            "identity": {},
            "outputs": {"files": int(), "bytes": int(), "sha256": str()},
            "results": {},
            "record": {},
        }:
            return True
    return False


def damaged(path: Path) -> InputError:
    """The error for a damaged file in a stage's folder."""
    return InputError(f"{path} is damaged; remove {path.parent} and run again")


def only(identity: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Part of an identity: stage, version and some keys; "group.name" is a key inside a group."""
    part: dict[str, Any] = {}
    for key in ("stage", "version", *keys):
        group, _, name = key.partition(".")
        value = identity.get(group)
        if name:
            value = value.get(name) if isinstance(value, dict) else None
        part[key] = value
    return part


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str:
    """First difference of two identities, as "key = old, not new"; "" if they are equal.

    Digests, which mean nothing to a reader, become "other contents of key". The order is that of
    ``new``: settings, which a user changed, before what follows from them.
    """
    for key in dict.fromkeys([*new, *old]):
        before, after = (one.get(key, UNSAID.get(key, "nothing")) for one in (old, new))
        if before == after:
            continue
        if _other_contents(before, after):
            return f"{OTHER_CONTENTS}{prefix}{key}"
        if isinstance(before, dict) and isinstance(after, dict):
            return first_difference(before, after, f"{prefix}{key}.")
        return f"{prefix}{key} = {spelled(before)}, not {spelled(after)}"
    return ""


def _other_contents(old: object, new: object) -> bool:
    """Whether both values are digests, of a file or of the same number of photos, and differ."""
    first, second = _digest_of(old), _digest_of(new)
    return "" not in (first, second) and first != second and _photos_of(old) == _photos_of(new)


def _digest_of(value: object) -> str:
    """The digest in a value of an identity; "" if it holds none."""
    text = value.get("sha256") if isinstance(value, dict) else value
    return text if isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) else ""


def _photos_of(value: object) -> object:
    return value.get("photos") if isinstance(value, dict) else None


def provenance() -> dict[str, str]:
    """Versions and commit, as far as they are known here."""
    packages = (
        *("torch", "torchvision", "timm", "segmentation-models-pytorch"),
        *("accelerate", "numpy", "pillow"),
    )
    versions = {"esol": __version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return {**versions, "python": platform.python_version(), "commit": _commit()}


def _commit() -> str:
    """Commit of the checkout this package runs from, "-dirty" appended where it was changed."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return "not a checkout"
    git = ["git", "-C", str(checkout)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("-dirty" if dirty.stdout.strip() else "")


def outputs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name and path of every output file of a stage's folder, in order."""
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder).as_posix()
        whole = not file.name.startswith(TEMPORARY) and relative not in NOT_OUTPUTS
        if whole and not _CHECKPOINTS.search(relative) and file.is_file():
            yield relative, file


def count(folder: Path) -> dict[str, int]:
    """Number and total size of the output files: what can be checked in no time."""
    sizes = [file.stat().st_size for _, file in outputs(folder)]
    return {"files": len(sizes), "bytes": sum(sizes)}


def digest(folder: Path) -> dict[str, Any]:
    """Number and size of the output files, and one SHA-256 over their names and contents."""
    total = hashlib.sha256()
    for relative, file in outputs(folder):
        total.update(relative.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return {**count(folder), "sha256": total.hexdigest()}


def write_sizes(folder: Path) -> None:
    """Write down the size of every output."""
    write_json(folder / SIZES, {name: file.stat().st_size for name, file in outputs(folder)})


def remove_cut(folder: Path) -> list[str]:
    """Remove outputs of another size than was written down; nothing if nothing was.

    Returns:
        Their names.
    """
    try:
        sizes = read_json(folder / SIZES)
    except InputError:
        return []
    cut = [
        (name, file)
        for name, file in outputs(folder)
        if name in sizes and file.stat().st_size != sizes[name]
    ]
    for _, file in cut:
        file.unlink()
    return [name for name, _ in cut]
