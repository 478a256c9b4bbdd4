"""Plan: what a command will do to the stages of a run, seen before it does anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from esol.runs.folder import IDENTITY, RunFolder, read_record
from esol.runs.manifest import first_difference
from esol.runs.work import Part, check_own, check_same, is_whole, plain_identity, unchanged

PENDING = "made first"
"""Stands in an identity for what an earlier stage of the same command has still to make."""


@dataclass(frozen=True)
class Outlook:
    """A stage that will be worked on.

    Attributes:
        kept: names at the top of its folder that stay.
        replaces: whether finished work goes.
        seconds: that it took the last time, None if it was never finished.
    """

    kept: tuple[str, ...] = ()
    replaces: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """The stages that a command will work on.

    Attributes:
        run: the run's folder.
        overwrite: replace work of other settings.
        to_do: stage -> what becomes of it. The other stages of the command are done.
    """

    run: RunFolder
    overwrite: bool = False
    to_do: dict[str, Outlook] = field(default_factory=dict)

    def look(self, name: str, identity: Mapping[str, Any], parts: Sequence[Part]) -> None:
        """See what becomes of a stage; its identity may hold PENDING.

        Raises:
            OtherSettingsError: it was made from something else, and is not to be replaced.
            InputError: its folder is damaged.
        """
        path, new = self.run.stage(name), plain_identity(name, identity)
        if not (path / IDENTITY).is_file():
            check_own(path)
            self.to_do[name] = Outlook()
            return
        old = read_record(path / IDENTITY)
        known = _with_known(new, old)
        difference, follows = first_difference(old, known), first_difference(known, new)
        kept = unchanged(path, parts, old, new) if difference or follows else []
        check_same(path, name, difference, kept, overwrite=self.overwrite)
        whole = is_whole(path)
        if not difference and not (follows and self.overwrite):
            # What an earlier stage makes again with the same settings is what it was.
            if whole:
                return
            kept = [entry.name for entry in path.iterdir()]
        self.to_do[name] = Outlook(tuple(kept), whole, self._seconds(name))

    def expect(self, name: str) -> None:
        """Expect that a stage will be made anew."""
        self.to_do[name] = Outlook((), self.run.is_finished(name), self._seconds(name))

    def _seconds(self, name: str) -> float | None:
        if not self.run.is_finished(name):
            return None
        seconds = self.run.manifest(name)["record"].get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None

    def seconds(self, names: Sequence[str]) -> dict[str, float | None]:
        """What stages took the last time; 0 for those that are done, None where nobody knows."""
        return {name: self.to_do[name].seconds if name in self.to_do else 0.0 for name in names}

    def replacement(self) -> tuple[list[str], list[str], float | None]:
        """What --overwrite costs.

        Returns:
            The stages that are made anew, each with the parts of it that stay; those among the rest
            of ``to_do`` that were never finished; and the seconds that the former took the last
            time, None if that is not known. No stages if no finished work is replaced.
        """
        anew: list[str] = []
        new: list[str] = []
        for name, outlook in self.to_do.items():
            parts = f" (keeps {', '.join(outlook.kept)})" if outlook.kept else ""
            (anew if outlook.replaces else new).append(f"{name}{parts}")
        times = [outlook.seconds for outlook in self.to_do.values() if outlook.replaces]
        known = [seconds for seconds in times if seconds is not None]
        return anew, new, sum(known) if len(known) == len(times) else None


def _with_known(new: Any, old: Any) -> Any:
    """An identity with the old values in the place of what is pending."""
    if new == PENDING:
        return old
    if isinstance(new, dict) and isinstance(old, dict):
        kept = {key: value for key, value in new.items() if value != PENDING or key in old}
        return {key: _with_known(value, old.get(key)) for key, value in kept.items()}
    return new
