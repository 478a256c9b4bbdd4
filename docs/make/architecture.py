"""docs/pictures/architecture.svg, from the imports: python docs/make/architecture.py."""

import tomllib
from itertools import combinations
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
EVERYWHERE = ("errors", "settings", "system")
"""Packages that nearly all others import: arrows to them would hide the rest."""
BOX, GAP, ROW = (104, 30), 22, 64
STYLE = (
    "text { font: 13px sans-serif; text-anchor: middle; fill: #1b2a32; }"
    " rect { fill: #e4eef3; stroke: #0b6e99; } rect.low { fill: #eeeeee; stroke: #777777; }"
    " path.arrow { fill: none; stroke: #5b6770; stroke-opacity: .75; marker-end: url(#tip); }"
)


def picture() -> str:
    """The whole picture as SVG."""
    floors = layers()
    width = max(len(floor) for floor in floors) * (BOX[0] + GAP) + GAP
    height = len(floors) * ROW + GAP
    places = {
        name: (
            (width - len(floor) * (BOX[0] + GAP) + GAP) / 2 + i * (BOX[0] + GAP),
            row * ROW + GAP,
        )
        for row, floor in enumerate(floors)
        for i, name in enumerate(floor)
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<style>{STYLE}</style>",
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#5b6770" stroke="none"/></marker>',
        '<rect width="100%" height="100%" style="fill: #ffffff; stroke: none"/>',
        *(arrow(places[upper], places[lower]) for upper, lower in shortest(imports())),
    ]
    for name, (x, y) in places.items():
        low = ' class="low"' if name in EVERYWHERE else ""
        lines.append(f'<rect{low} x="{x:g}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="5"/>')
        lines.append(f'<text x="{x + BOX[0] / 2:g}" y="{y + 20}">{name}</text>')
    return "\n".join([*lines, "</svg>", ""])


def left(boxes: int, width: int) -> float:
    """Where a floor begins; floors of one box stand left, with room for the arrows that pass."""
    return 1.5 * BOX[0] if boxes == 1 else (width - boxes * (BOX[0] + GAP) + GAP) / 2


def layers() -> list[list[str]]:
    """Packages by floor, the highest first, as the contract in pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    return [[name.strip() for name in floor.split("|")] for floor in contract["layers"]]


def imports() -> set[tuple[str, str]]:
    """(importing, imported) packages, without those that are imported everywhere."""
    graph = grimp.build_graph("esol", exclude_type_checking_imports=True, cache_dir=None)
    pairs = {
        (module.split(".")[1], other.split(".")[1])
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
        if module.count(".") and other.count(".")
    }
    drawn = {name for floor in layers() for name in floor} - set(EVERYWHERE)
    return {(a, b) for a, b in pairs if a != b and {a, b} <= drawn}


def shortest(pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs that no longer way over other pairs says already."""
    order = [name for floor in layers() for name in floor]
    reached = {name: set() for name in order}
    for name in reversed(order):
        below = {b for a, b in pairs if a == name}
        reached[name] = below.union(*(reached[b] for b in below))
    return [
        (a, b)
        for a, b in combinations(order, 2)
        if (a, b) in pairs and not any(b in reached[c] for c in reached[a] if (a, c) in pairs)
    ]


def arrow(upper: tuple[float, int], lower: tuple[float, int]) -> str:
    """Curve from one box to the upper side of another; over several floors, from the side."""
    end_x, end_y = lower[0] + BOX[0] / 2, lower[1]
    beside = not upper[0] <= end_x <= upper[0] + BOX[0]
    if end_y - upper[1] > ROW and beside:
        x, y = upper[0] + (BOX[0] if end_x > upper[0] else 0), upper[1] + BOX[1] / 2
        curve = f"{end_x:g} {y:g} {end_x:g} {y:g}"
    else:
        x, y = upper[0] + BOX[0] / 2, upper[1] + BOX[1]
        curve = f"{x:g} {y + ROW / 4:g} {end_x:g} {end_y - ROW / 4:g}"
    return f'<path class="arrow" d="M{x:g} {y:g} C{curve} {end_x:g} {end_y}"/>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
