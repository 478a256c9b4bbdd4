"""Line charts as SVG text that takes its colours from the page's style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from markupsafe import Markup

from esol.system.files import write_atomic

Points = Sequence[tuple[float, float | None]]

_WIDTH, _HEIGHT = 380, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 42
STYLES = 6
"""Line styles (colour and dashes) the page defines: .s0 .. .s5; further series begin again."""


def line_chart(
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Points],
    unit: bool = False,
    mark: float | None = None,
) -> Markup:
    """Draw one chart.

    Args:
        title: what is shown, for readers that cannot see it.
        axes: names of the horizontal and the vertical axis.
        series: name -> (x, y) in drawing order; y None, NaN or infinite breaks the line.
        unit: both axes run from 0 to 1, otherwise over the data.
        mark: x of a vertical line, None for none.

    Returns:
        An ``<svg>`` element followed by its legend, every name escaped; "" where no series has a
        point to draw.
    """
    runs = {name: _runs(points) for name, points in series.items()}
    drawn = [point for parts in runs.values() for part in parts for point in part]
    if not drawn:
        return Markup("")
    x = _Axis.over([0.0, 1.0] if unit else [place for place, _ in drawn], _LEFT, _WIDTH - _RIGHT)
    y = _Axis.over([0.0, 1.0] if unit else [value for _, value in drawn], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_grid(x, y, axes),
    ]
    if mark is not None:
        parts.append(_rule(x(mark), _TOP, x(mark), _HEIGHT - _BOTTOM, "mark"))
    for number, pieces in enumerate(runs.values()):
        parts += [_line(piece, x, y, number % STYLES) for piece in pieces]
    # Only escaped names and numbers are in it, so it may stand in the page as it is.
    return Markup("\n".join([*parts, "</svg>", _legend(list(series))]))


def thin(points: Sequence[tuple[int, float]], most: int = 300) -> list[tuple[float, float | None]]:
    """Means of neighbouring points so that at most ``most`` remain; few points stay as they are."""
    width = -(-len(points) // most) if points else 1
    groups = (points[start : start + width] for start in range(0, len(points), width))
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


@dataclass(frozen=True)
class _Axis:
    """Maps values to places; ticks at round numbers."""

    low: float
    high: float
    start: int
    end: int

    @staticmethod
    def over(values: Sequence[float], start: int, end: int) -> "_Axis":
        low, high = min(values), max(values)
        # A flat line still needs a scale; the margin is relative so that large values keep it.
        margin = 0.0 if high > low else max(abs(low) * 0.1, 1e-6)
        return _Axis(low - margin, high + margin, start, end)

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    result: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None and math.isfinite(y):
            result[-1].append((x, y))
        elif result[-1]:
            result.append([])
    return [run for run in result if run]


def _grid(x: _Axis, y: _Axis, axes: tuple[str, str]) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines = [
        *(_rule(_LEFT, y(tick), right, y(tick)) for tick in y.ticks()),
        *(_rule(x(tick), _TOP, x(tick), bottom) for tick in x.ticks()),
    ]
    # Bare attributes serve readers without style sheets; the page's style overrides them.
    texts = [
        '<g class="y" text-anchor="end">',
        *(f'<text x="{_LEFT - 5}" y="{y(tick) + 4:.1f}">{tick:.4g}</text>' for tick in y.ticks()),
        "</g>",
        *(f'<text x="{x(tick):.1f}" y="{bottom + 15}">{tick:.6g}</text>' for tick in x.ticks()),
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}">{escape(axes[0])}</text>',
        f'<text transform="translate(11 {(_TOP + bottom) / 2}) rotate(-90)">',
        f"{escape(axes[1])}</text>",
    ]
    return [*lines, '<g font-size="11" text-anchor="middle">', *texts, "</g>"]


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return (
        f'<line class="{kind}" stroke="currentColor" stroke-opacity="0.3" '
        f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    )


def _line(points: list[tuple[float, float]], x: _Axis, y: _Axis, style: int) -> str:
    if len(points) == 1:
        (place, value), *_ = points
        return f'<circle class="s{style}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="2.5"/>'
    path = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in points)
    return f'<polyline class="s{style}" fill="none" stroke="currentColor" points="{path}"/>'


def _legend(names: Sequence[str]) -> str:
    entries = "".join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><polyline class="s{number % STYLES}" '
        f'points="0,4 24,4"/></svg>{escape(name)}</li>'
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{entries}</ul>'


_FILE_WIDTH, _FILE_HEIGHT, _ENTRY = 570, 405, 22
"""Pixels of a chart in a file of its own, and the height of a line of its legend."""

_STYLE = """
text { fill: #444; font-family: sans-serif; }
line.grid { stroke: #d8d8d8; stroke-opacity: 1; }
line.mark { stroke: #555; stroke-opacity: 1; stroke-dasharray: 2 3; }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { stroke: #5b6770; } .s1 { stroke: #b3541e; stroke-dasharray: 7 3; } .s2 { stroke: #0b6e99; }
.s3 { stroke: #6d3fa0; stroke-dasharray: 2 3; } .s4 { stroke: #2f7d32; stroke-dasharray: 9 3 2 3; }
.s5 { stroke: #a3194e; }
"""


def write_chart(
    path: Path,
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Points],
    *,
    unit: bool = False,
) -> bool:
    """Write a chart; arguments as of ``line_chart``.

    Returns:
        False, with nothing written, where no series has a point.
    """
    chart, closed, _ = str(line_chart(title, axes, series, unit=unit)).partition("\n</svg>")
    if not closed:
        return False
    placed = chart.replace(
        "<svg ", f'<svg y="30" width="{_FILE_WIDTH}" height="{_FILE_HEIGHT}" ', 1
    )
    below = 30 + _FILE_HEIGHT + _ENTRY
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_FILE_WIDTH}"'
        f' height="{below + _ENTRY * -(-len(series) // 2)}">',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="20" font-size="14">{escape(title)}</text>',
        placed + closed,
    ]
    for number, name in enumerate(series):
        x, y = 20 + number % 2 * _FILE_WIDTH // 2, below + number // 2 * _ENTRY
        lines += [
            f'<polyline class="s{number % STYLES}" points="{x},{y - 4} {x + 30},{y - 4}"/>',
            f'<text x="{x + 38}" y="{y}" font-size="13">{escape(name)}</text>',
        ]
    write_atomic(path, "\n".join([*lines, "</svg>", ""]))
    return True
