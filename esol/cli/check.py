"""``esol check``: one call into the library for the data, one for the networks."""

import sys
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from esol.data.check import CheckReport, check, render
from esol.errors import InputError
from esol.settings import Settings
from esol.system.progress import Screen


def check_command(data: Path, settings: Settings, *, networks: bool) -> int:
    """Print what a data set holds and what is wrong; ``networks``: try those of the settings."""
    report = check(data, settings.data, settings.masks.saliency)
    if networks:
        report = _with_networks(report, settings)
    # Not wrapped where it is not a terminal: file names stay whole.
    screen = Screen(soft_wrap=not sys.stdout.isatty())
    screen.print(render(report))
    if networks:
        from esol.networks.pretrained import notes

        for note in notes(settings):
            screen.print(Text(note))
    return 2 if report.problems else 0


def _with_networks(report: CheckReport, settings: Settings) -> CheckReport:
    """The report, with the networks or what is wrong with them.

    Where all rows are wrong there are no classes; the networks are tried with one.
    """
    from esol.stages.networks import try_networks

    try:
        return replace(report, networks=try_networks(settings, max(1, len(report.classes))))
    except InputError as error:
        return replace(report, problems=(*report.problems, str(error)))
