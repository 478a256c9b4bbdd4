"""Progress of long loops, on a terminal and in a log."""

import io
import logging

import pytest
from rich.console import Console

from esol.system import progress


def test_a_terminal_gets_a_bar_with_count_and_rate(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")  # where it is "dumb", rich draws no bar
    monkeypatch.setattr(progress, "console", Console(file=shown, force_terminal=True, width=100))
    # Drawn after every item, not when a clock says so.
    monkeypatch.setattr(progress, "Progress", _drawn_each_time(progress.Progress))
    assert list(progress.track(range(3), "maps", total=5, start=2, unit="photos")) == [0, 1, 2]
    text = shown.getvalue()
    assert "maps" in text
    assert "2/5" in text
    assert "5/5" in text
    assert "photos/s" in text


def _drawn_each_time(kind):
    class Drawn(kind):
        def update(self, *arguments, **changes):
            super().update(*arguments, **changes)
            self.refresh()

    return Drawn


@pytest.mark.parametrize(("every", "lines"), [(0.0, 2), (1e6, 0)])
def test_a_log_gets_lines_now_and_then(monkeypatch, caplog, every, lines):
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO()))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", every)
    with caplog.at_level(logging.INFO, "esol"):
        assert list(progress.track("abc", "maps", total=5, start=2, unit="photos")) == [*"abc"]
    told = [record.getMessage() for record in caplog.records]
    # Nothing after the last item: the work is done then.
    assert [line.split(",")[0] for line in told] == ["maps: 3 of 5", "maps: 4 of 5"][:lines]
    assert all("photos/s" in line and line.endswith("s left") for line in told)
