"""Line charts as SVG: in the page, whose style sheet colours them, and as files."""

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

_FILE_WIDTH, _FILE_HEIGHT, _ENTRY = 570, 405, 22
"""Size of a chart in a file, and the height of a line of its legend, pixels."""

STYLES = 6
"""Line styles (colour and dashes), .s0 .. .s5; further series start again."""

_STYLE = """
text { fill: #444; font-family: sans-serif; }
line.grid { stroke: #d8d8d8; stroke-opacity: 1; }
line.mark { stroke: #555; stroke-opacity: 1; stroke-dasharray: 2 3; }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { stroke: #5b6770; } .s1 { stroke: #b3541e; stroke-dasharray: 7 3; } .s2 { stroke: #0b6e99; }
.s3 { stroke: #6d3fa0; stroke-dasharray: 2 3; } .s4 { stroke: #2f7d32; stroke-dasharray: 9 3 2 3; }
.s5 { stroke: #a3194e; }
"""


@dataclass(frozen=True)
class Chart:
    """A line chart; every text is escaped when drawn.

    Attributes:
        title: what is shown; in the page only for screen readers.
        axes: names of the horizontal and the vertical axis.
        series: name -> (x, y) in drawing order; y None, NaN or infinite breaks the line.
        unit: both axes run from 0 to 1, otherwise over the data.
        mark: x of a vertical line, None for none.
    """

    title: str
    axes: tuple[str, str]
    series: Mapping[str, Points]
    unit: bool = False
    mark: float | None = None

    def html(self) -> Markup:
        """An ``<svg>`` element followed by its legend; "" where no series has a point to draw."""
        if not (chart := self._svg()):
            return Markup("")
        entries = "".join(
            f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><polyline class="s{number % STYLES}" '
            f'points="0,4 24,4"/></svg>{escape(name)}</li>'
            for number, name in enumerate(self.series)
        )
        # Names are escaped and the rest are numbers, so the page may hold it unescaped.
        return Markup(f'{chart}\n<ul class="legend">{entries}</ul>')

    def write(self, path: Path) -> bool:
        """Write the chart as a file; False, with nothing written, where no series has a point."""
        place = f'y="30" width="{_FILE_WIDTH}" height="{_FILE_HEIGHT}" '
        if not (chart := self._svg(place)):
            return False
        below = 30 + _FILE_HEIGHT + _ENTRY
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_FILE_WIDTH}"'
            f' height="{below + _ENTRY * -(-len(self.series) // 2)}">',
            f"<style>{_STYLE}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            f'<text x="12" y="20" font-size="14">{escape(self.title)}</text>',
            chart,
        ]
        for number, name in enumerate(self.series):
            x, y = 20 + number % 2 * _FILE_WIDTH // 2, below + number // 2 * _ENTRY
            lines += [
                f'<polyline class="s{number % STYLES}" points="{x},{y - 4} {x + 30},{y - 4}"/>',
                f'<text x="{x + 38}" y="{y}" font-size="13">{escape(name)}</text>',
            ]
        write_atomic(path, "\n".join([*lines, "</svg>", ""]))
        return True

    def _svg(self, place: str = "") -> str:
        """The ``<svg>`` element, ``place`` among its attributes; "" without a point to draw."""
        pieces = [_pieces(points) for points in self.series.values()]
        drawn = [point for parts in pieces for part in parts for point in part]
        if not drawn:
            return ""
        xs, ys = ([0.0, 1.0], [0.0, 1.0]) if self.unit else zip(*drawn, strict=True)
        x = _Axis.over(xs, _LEFT, _WIDTH - _RIGHT)
        y = _Axis.over(ys, _HEIGHT - _BOTTOM, _TOP)
        lines = [
            f'<svg {place}viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
            f' aria-label="{escape(self.title)}">',
            *_grid(x, y, self.axes),
        ]
        if self.mark is not None:
            lines.append(_rule(x(self.mark), _TOP, x(self.mark), _HEIGHT - _BOTTOM, "mark"))
        for number, parts in enumerate(pieces):
            lines += [_line(part, x, y, number % STYLES) for part in parts]
        return "\n".join([*lines, "</svg>"])


def averaged(points: Sequence[tuple[int, float]], most: int = 300) -> Points:
    """Means of neighbouring points so that at most ``most`` remain."""
    width = -(-len(points) // most) if points else 1
    groups = (points[start : start + width] for start in range(0, len(points), width))
    return [
        (sum(xs) / len(xs), sum(ys) / len(ys)) for xs, ys in (zip(*g, strict=True) for g in groups)
    ]


@dataclass(frozen=True)
class _Axis:
    """Maps values to pixels; ticks at round numbers."""

    low: float
    high: float
    start: int
    end: int

    @staticmethod
    def over(values: Sequence[float], start: int, end: int) -> "_Axis":
        low, high = min(values), max(values)
        # A flat line still needs a scale; a relative margin survives large values.
        margin = 0.0 if high > low else max(abs(low) * 0.1, 1e-6)
        return _Axis(low - margin, high + margin, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _pieces(points: Points) -> list[list[tuple[float, float]]]:
    """Points without a gap between them, piece by piece."""
    result: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None and math.isfinite(y):
            result[-1].append((x, y))
        elif result[-1]:
            result.append([])
    return [piece for piece in result if piece]


def _grid(x: _Axis, y: _Axis, axes: tuple[str, str]) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines = [
        *(_rule(_LEFT, y(tick), right, y(tick)) for tick in y.ticks()),
        *(_rule(x(tick), _TOP, x(tick), bottom) for tick in x.ticks()),
    ]
    # These attributes serve viewers without style sheets; the page's style overrides them.
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
        place, value = points[0]
        return f'<circle class="s{style}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="2.5"/>'
    path = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in points)
    return f'<polyline class="s{style}" fill="none" stroke="currentColor" points="{path}"/>'
