"""Line charts as files of their own: the report's charts with a style and a legend inside."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from esol.charts import STYLES, Points, line_chart
from esol.system.files import write_atomic

_WIDTH, _HEIGHT, _ENTRY = 570, 405, 22
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
    """Write a chart; arguments as of :func:`esol.charts.line_chart`.

    Returns:
        False, with nothing written, where no series has a point.
    """
    chart, closed, _ = str(line_chart(title, axes, series, unit=unit)).partition("\n</svg>")
    if not closed:
        return False
    placed = chart.replace("<svg ", f'<svg y="30" width="{_WIDTH}" height="{_HEIGHT}" ', 1)
    below = 30 + _HEIGHT + _ENTRY
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}"'
        f' height="{below + _ENTRY * -(-len(series) // 2)}">',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="12" y="20" font-size="14">{escape(title)}</text>',
        placed + closed,
    ]
    for number, name in enumerate(series):
        x, y = 20 + number % 2 * _WIDTH // 2, below + number // 2 * _ENTRY
        lines += [
            f'<polyline class="s{number % STYLES}" points="{x},{y - 4} {x + 30},{y - 4}"/>',
            f'<text x="{x + 38}" y="{y}" font-size="13">{escape(name)}</text>',
        ]
    write_atomic(path, "\n".join([*lines, "</svg>", ""]))
    return True
