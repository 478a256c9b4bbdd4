"""An earlier run, from which the classifier of a new one starts (classify.init)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.errors import InputError
from esol.runs.folder import DESCRIPTION, RunFolder
from esol.runs.stages import STAGES
from esol.system.files import sha256_once


@dataclass(frozen=True)
class EarlierRun:
    """A run whose classifier is finished.

    Attributes:
        run: its folder.
        made_with: identity of its stage classify.
        classes: its K classes, in the order of the classifier's rows.
    """

    run: RunFolder
    made_with: dict[str, Any]
    classes: tuple[str, ...]

    @property
    def weights(self) -> Path:
        """File of its classifier."""
        return self.run.weights("classify")

    @property
    def identity(self) -> dict[str, Any]:
        """What the identity of a classifier that starts from it says: no path, so it may move."""
        lists = (of for of in self.made_with["data"].values() if isinstance(of, dict))
        photos = next((of.get("photos") for of in lists), None)
        return {"sha256": sha256_once(self.weights), "photos": photos, "classes": self.classes}

    def rows(self, classes: tuple[str, ...]) -> dict[int, int]:
        """Index of each of some classes that it knows -> its own index of it."""
        known = {name: row for row, name in enumerate(self.classes)}
        return {row: known[name] for row, name in enumerate(classes) if name in known}


def earlier_run(init: str) -> EarlierRun:
    """The earlier run that classify.init names.

    Raises:
        InputError: there is no such run, or it has no finished classifier.
    """
    run = RunFolder(Path(init))
    if not (run.path / DESCRIPTION).is_file():
        fault = f'not the folder of a run (no {DESCRIPTION}); give what esol run wrote, or ""'
        raise InputError(f"classify.init = {init}: {fault}")
    if not (run.is_finished("classify") and run.weights("classify").is_file()):
        raise InputError(
            f"classify.init = {init}: has no finished {STAGES['classify'].folder}; finish it there"
            f" (esol run {init} --until classify), or name another run"
        )
    match run.manifest("classify")["identity"]:
        case {"data": {"classes": [*classes]}, "backbone": {}, "head": {}} as made_with if all(
            isinstance(name, str) for name in classes
        ):
            return EarlierRun(run, made_with, tuple(classes))
    raise run.damaged("classify")
