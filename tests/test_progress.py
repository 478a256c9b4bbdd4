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
    monkeypatch.setattr(progress, "MOST_LINES", 1e9)
    with caplog.at_level(logging.INFO, "esol"):
        assert list(progress.track("abc", "maps", total=5, start=2, unit="photos")) == [*"abc"]
    told = [record.getMessage() for record in caplog.records]
    # Nothing after the last item: the work is done then.
    assert [line.split(",")[0] for line in told] == ["maps: 3 of 5", "maps: 4 of 5"][:lines]
    assert all("photos/s" in line and line.endswith("s left") for line in told)


def test_a_log_says_which_stage_of_how_many_and_what_is_left_of_the_run(monkeypatch, caplog):
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO()))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "MOST_LINES", 1e9)
    with (
        caplog.at_level(logging.INFO, "esol"),
        progress.whole_run({"cams": 0.0, "seeds": 30.0, "masks": 600.0}) as begin,
    ):
        begin("seeds", "cut maps into seed masks")
        assert progress.headline("seeds", "cut") == "stage 2 of 3: seeds: cut"
        assert list(progress.track("ab", "seeds", total=2, unit="photos")) == ["a", "b"]
        begin("masks", "make pseudo masks")
        assert list(progress.track("ab", "masks", total=2, unit="photos")) == ["a", "b"]
    seeds, masks = (record.getMessage() for record in caplog.records)
    assert seeds.startswith("stage 2 of 3, seeds: 1 of 2, ")
    assert seeds.endswith("30 s left; of the run about 10 min")  # 630 s
    assert masks.startswith("stage 3 of 3, masks: 1 of 2, ")
    assert masks.endswith("10 min left")
    assert progress.headline("seeds", "cut") == "seeds: cut"


def test_what_nobody_knows_is_not_estimated(monkeypatch, caplog):
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO()))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "MOST_LINES", 1e9)
    for seconds in ({"seeds": None, "masks": 600.0}, {"seeds": 30.0, "masks": None}):
        caplog.clear()
        with caplog.at_level(logging.INFO, "esol"), progress.whole_run(seconds) as begin:
            begin("seeds", "cut maps into seed masks")
            list(progress.track("ab", "seeds", total=2, unit="photos"))
        (line,) = (record.getMessage() for record in caplog.records)
        assert line.endswith(" left")
        assert "of the run" not in line


def test_a_long_loop_gets_few_lines(monkeypatch, caplog):
    now = iter(range(0, 1_000_000, 60))
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO()))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    with caplog.at_level(logging.INFO, "esol"):
        assert len(list(progress.track(range(500), "segment", total=500, unit="steps"))) == 500
    assert 8 <= len(caplog.records) <= 11


def test_a_terminal_has_one_line_for_the_whole_run(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "console", Console(file=shown, force_terminal=True, width=120))
    monkeypatch.setattr(progress, "Progress", _drawn_each_time(progress.Progress))
    with progress.whole_run({"seeds": None, "masks": None}) as begin:
        for name in ("seeds", "masks"):
            begin(name, "purpose")
            list(progress.track(range(3), name, total=3, unit="photos"))
    text = shown.getvalue()
    assert "stage 1 of 2, seeds" in text
    assert "stage 2 of 2, masks" in text
    # The cursor never leaves the line.
    assert text.count("\x1b[1A") == 1  # at the end, when it goes
