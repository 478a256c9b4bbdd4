"""Synthetic data: multi-tag scenes on which a classifier's maps fail as they do on photos.

Every class is a creature with a small head of its own, and a body several times as large whose
texture it shares with another class. A classifier needs only the head, so its maps miss the body.
There are two kinds of scenes. In EASY ones, those of the demo, what the method assumes holds: a
body is a muted shade of its two classes' heads, and the ground is no class's. In HARD ones heads
are motley, creatures smaller and more, and every class prefers one kind of ground, which the
classifier may use.
"""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from esol.data.images import save_mask
from esol.data.scenes import EASY, HARD, Range, Scenes
from esol.errors import InputError

CLASSES = ("anchor", "bullseye", "checker", "pinwheel", "sunburst", "tricolour")
"""Class names in mask-value order, after the patterns of the heads."""

GROUNDS = ("sand", "grass", "water", "bricks", "gravel", "heather")
"""The six grounds, which are classes 7 to 12 of a set without background."""

_LEAST_VISIBLE = 0.006
_LEAST_HEAD = 0.3

_Array = NDArray[np.floating]
_Layer = tuple[_Array, _Array, _Array, _Array]


@dataclass(frozen=True)
class _Creature:
    """A creature: its class, and its place in pixels, radians and units of its size."""

    kind: int
    x: float
    y: float
    size: float
    angle: float
    mirror: float
    bend: float
    stretch: float


def write_synthetic(
    root: Path | str,
    photos: int,
    size: int,
    seed: int,
    val_fraction: float = 0.25,
    background: bool = True,
    hard: bool = False,
) -> None:
    """Draw a data set: labels.csv (lists "train" and "val"), classes.txt, images, masks, saliency.

    The same arguments give the same bytes on the same machine. Photo i depends only on the seed
    and i; the first photos are the training list. For saliency see :func:`draw_saliency`.

    Args:
        root: folder to make; it must not exist or be empty, and appears only when complete.
        photos: how many, at least 2.
        size: longest side in pixels, at least 32; the other side is 0.75 to 1 of it.
        seed: 0 or more.
        val_fraction: fraction of the photos in the list "val", 0 .. 1.
        background: False: grounds are classes too, two in each photo, so that every pixel has a
            class, as where photos are tagged grass, sky and road.
        hard: whether the scenes are HARD rather than EASY.

    Raises:
        InputError: the folder is not empty, or an argument is out of its range.

    Examples:
        >>> write_synthetic("drawn", photos=2, size=32, seed=0)
        >>> sorted(path.name for path in Path("drawn").iterdir())
        ['classes.txt', 'images', 'labels.csv', 'masks', 'saliency']
    """
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root}: not empty: name a new folder for the synthetic data")
    if photos < 2 or size < 32 or seed < 0 or not 0 <= val_fraction <= 1:
        raise InputError("synthetic data: photos >= 2, size >= 32, seed >= 0, val_fraction 0 .. 1")
    part = root.with_name(f".{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for folder in ("images", "saliency"):
        (part / folder).mkdir(parents=True)
    rows, names = [], CLASSES if background else CLASSES + GROUNDS
    scenes = HARD if hard else EASY
    first_val = photos - round(photos * val_fraction)
    for i in range(photos):
        image, mask = draw_scene(
            np.random.default_rng((seed, i)), size, i % len(CLASSES), scenes, background
        )
        Image.fromarray(image).save(part / "images" / f"{i:05d}.jpg", quality=92)
        save_mask(mask, part / "masks" / f"{i:05d}.png")
        saliency = draw_saliency(mask, np.random.default_rng((seed, i, 1)))
        Image.fromarray(saliency).save(part / "saliency" / f"{i:05d}.png")
        tags = " ".join(names[value - 1] for value in np.unique(mask[mask > 0]))
        rows.append((f"images/{i:05d}.jpg", tags, "train" if i < first_val else "val"))
    with (part / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "labels", "split"), *rows])
    (part / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    part.replace(root)


def draw_saliency(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Imitate a saliency detector: the true mask with faults.

    Half size, blurred; in one photo of five the left or right half is missed, and in one of three
    a disc of ground is salient. Results with it say nothing about real detectors.

    Args:
        mask: (H, W), 0 background.
        rng: source of all randomness.

    Returns:
        (ceil(H / 2), ceil(W / 2)) uint8, 255 salient.
    """
    salient = (mask > 0).astype(np.uint8) * 255
    height, width = salient.shape
    missed, disc = rng.random(2) < (1 / 5, 1 / 3)
    if missed:
        half = slice(0, width // 2) if rng.random() < 0.5 else slice(width // 2, width)
        salient[:, half] = 0
    if disc:
        x, y = _grid([height, width])
        centre = rng.random(2) * (width, height)
        salient[np.hypot(x - centre[0], y - centre[1]) < 0.12 * max(height, width)] = 255
    small = Image.fromarray(salient).resize((-(-width // 2), -(-height // 2)), Image.Resampling.BOX)
    return np.asarray(small.filter(ImageFilter.GaussianBlur(1)))


def draw_scene(
    rng: np.random.Generator,
    size: int,
    first: int,
    scenes: Scenes = EASY,
    background: bool = True,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one photo.

    Args:
        rng: source of all randomness.
        size: longest side in pixels.
        first: class, 0 .. 5, that is certainly in the photo and may choose the ground.
        scenes: what the photo is like.
        background: whether grounds are background; else there are two, 7 .. 12 in the mask.

    Returns:
        Image (H, W, 3) uint8 and mask (H, W) uint8 with 0 and 1 .. 6.
    """
    shape = [size, round(size * rng.uniform(0.75, 1))]
    rng.shuffle(shape)
    others = [k for k in range(len(CLASSES)) if k != first]
    extra = int(rng.choice(3, p=scenes.others))
    kinds = [first, *rng.choice(others, extra, replace=False).tolist()]
    if rng.random() < scenes.second:
        kinds.append(first)
    ground = first if rng.random() < scenes.fidelity else int(rng.integers(len(CLASSES)))
    sizes = scenes.alone if len(kinds) == 1 else scenes.crowded
    # A creature covered by the others would be a wrong tag: such a scene is drawn again.
    while True:
        creatures = [_placed(int(kind), shape, rng, sizes) for kind in rng.permutation(kinds)]
        layers = [_layer(creature, shape, scenes.head) for creature in creatures]
        if _all_visible(creatures, layers, scenes.head):
            break
    canvas, mask = _ground(ground, shape, rng, scenes), np.zeros(shape, dtype=np.uint8)
    if background:
        for _ in range(int(rng.integers(*scenes.clutter))):
            _add_clutter(canvas, rng, scenes)
    else:
        _add_second_ground(canvas, mask, ground, rng, scenes)
    for creature, (body, head, u, v) in zip(creatures, layers, strict=True):
        box = _box(np.maximum(body, head) > 0)
        _paint(canvas[box], body[box], _body_colour(creature.kind, u[box], v[box], rng, scenes))
        _paint(canvas[box], head[box], _head_colour(creature.kind, u[box], v[box], rng, scenes))
        mask[np.maximum(body, head) >= 0.5] = creature.kind + 1
    return _photographed(canvas, rng), mask


def _placed(kind: int, shape: list[int], rng: np.random.Generator, sizes: Range) -> _Creature:
    height, width = shape
    return _Creature(
        kind,
        x=float(rng.uniform(0.2, 0.8) * width),
        y=float(rng.uniform(0.2, 0.8) * height),
        size=float(max(shape) * rng.uniform(*sizes)),
        angle=float(rng.uniform(0, 2 * np.pi)),
        mirror=float(rng.choice((-1, 1))),
        bend=float(rng.uniform(-0.35, 0.35)),
        stretch=float(rng.uniform(0.4, 0.62)),
    )


def _grid(shape: list[int]) -> tuple[_Array, _Array]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return x, y


def _layer(c: _Creature, shape: list[int], head_radius: float) -> _Layer:
    """Coverage 0 .. 1 of body and head, and the creature's own coordinates (body about 2 long)."""
    x, y = _grid(shape)
    cos, sin = np.float32(np.cos(c.angle) / c.size), np.float32(np.sin(c.angle) / c.size)
    u = (x - c.x) * cos + (y - c.y) * sin
    v = ((y - c.y) * cos - (x - c.x) * sin) * c.mirror
    v = v - np.float32(c.bend) * (u * u - 0.5)
    trunk = 1 - np.sqrt((u / 1.05) ** 2 + (v / c.stretch) ** 2)
    legs = [_capsule(u - foot, v - 0.75 * c.stretch, 0.11, 0.42) for foot in (-0.55, 0.5)]
    tail = _capsule(v + 0.15 - 0.5 * (u + 1), u + 1.25, 0.09, 0.35)
    inside = np.maximum.reduce([trunk * c.stretch, *legs, tail])
    head = np.float32(head_radius) - np.hypot(u - 1.1, v + 0.12)
    return _coverage(inside, c.size), _coverage(head, c.size), u - 1.1, v + 0.12


def _capsule(across: _Array, along: _Array, radius: float, half: float) -> _Array:
    """Signed distance inside a rounded bar."""
    return np.float32(radius) - np.hypot(across, np.maximum(np.abs(along) - np.float32(half), 0))


def _coverage(inside: _Array, pixels: float) -> _Array:
    return np.clip(inside * np.float32(pixels) + np.float32(0.5), 0, 1)


def _all_visible(creatures: list[_Creature], layers: list[_Layer], head_radius: float) -> bool:
    """Whether enough of every creature, and of its head, is in the photo and not covered."""
    covered = np.zeros(layers[0][0].shape, dtype=bool)
    for creature, (body, head, _, _) in reversed(list(zip(creatures, layers, strict=True))):
        inside = np.maximum(body, head) >= 0.5
        whole_head = np.pi * (head_radius * creature.size) ** 2
        seen_head = ((head >= 0.5) & ~covered).sum()
        if seen_head < _LEAST_HEAD * whole_head or (inside & ~covered).mean() < _LEAST_VISIBLE:
            return False
        covered |= inside
    return True


def _body_colour(
    kind: int, u: _Array, v: _Array, rng: np.random.Generator, scenes: Scenes
) -> _Array:
    """Texture and colour of the class's pair, with so much jitter that pairs overlap."""
    contrast, deviation = scenes.body
    pair = kind % len(scenes.bodies)
    rate = np.float32(rng.uniform(8, 12))
    turn = rng.uniform(-0.5, 0.5)
    a, b = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    waves = (
        lambda: np.sin(rate * a),
        lambda: 2 * np.sin(rate * a) * np.sin(rate * b),
        lambda: np.sin(0.6 * rate * np.hypot(a + 1, b)),
    )
    colour = np.array(scenes.bodies[pair]) + rng.normal(0, deviation, 3)
    return _mixed(
        colour - contrast, colour + contrast, 0.5 + 0.5 * np.clip(2 * waves[pair](), -1, 1)
    )


def _head_colour(
    kind: int, u: _Array, v: _Array, rng: np.random.Generator, scenes: Scenes
) -> _Array:
    """The class's own pattern, in two colours, on the head's disc."""
    turn = rng.uniform(-0.4, 0.4)
    a, b = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    radius, around = np.hypot(u, v), np.arctan2(b, a)
    patterns = (
        lambda: (np.abs(a) < 0.08) | (np.abs(radius - 0.2) < 0.05) & (b > 0),
        lambda: np.sin(radius * 28) > 0,
        lambda: np.sin(a * 20) * np.sin(b * 20) > 0,
        lambda: np.sin(3 * around + 10 * radius) > 0,
        lambda: (np.sin(8 * around) > 0) & (radius > 0.12),
        lambda: np.abs(a) < 0.11,
    )
    dark, light = (np.array(colour) + rng.normal(0, 14, 3) for colour in scenes.heads[kind])
    return _mixed(dark, light, patterns[kind]().astype(np.float32))


def _mixed(low: NDArray[np.float64], high: NDArray[np.float64], share: _Array) -> _Array:
    low32, high32 = low.astype(np.float32), high.astype(np.float32)
    return low32 + (high32 - low32) * share.astype(np.float32)[..., None]


def _box(where: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Smallest box around the true values: painting the rest would only cost time."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _paint(canvas: _Array, coverage: _Array, colour: _Array) -> None:
    canvas += coverage[..., None] * (colour - canvas)


def _ground(kind: int, shape: list[int], rng: np.random.Generator, scenes: Scenes) -> _Array:
    """One of six grounds, over the whole photo."""
    contrast, deviation = scenes.ground
    x, y = _grid(shape)
    rate = np.float32(2 * np.pi / max(shape) * rng.uniform(9, 14))
    wobble = np.sin(rate * 0.23 * x + rng.uniform(0, 6)) + np.sin(rate * 0.31 * y)
    textures = (
        lambda: _blocks(rng, shape, 1) - 0.5,
        lambda: np.sin(2 * rate * x + 2 * wobble) * 0.7,
        lambda: np.sin(rate * y + 1.5 * wobble) * 0.6,
        lambda: np.maximum(np.sin(rate * x), np.sin(rate * y)) * 0.6,
        lambda: _blocks(rng, shape, 4) - 0.5,
        lambda: np.sin(rate * (x + y) * 0.7) * np.sin(rate * (x - y) * 0.7) * 0.8,
    )
    colour = np.array(scenes.grounds[kind]) + rng.normal(0, deviation, 3)
    return _mixed(colour - contrast, colour + contrast, textures[kind]() + 0.5)


def _add_second_ground(
    canvas: _Array, mask: NDArray[np.uint8], ground: int, rng: np.random.Generator, scenes: Scenes
) -> None:
    """Another ground above a wavy horizon; both get their mask values."""
    height, width = mask.shape
    other = (ground + int(rng.integers(1, len(GROUNDS)))) % len(GROUNDS)
    x, y = _grid([height, width])
    wave = 0.05 * np.sin(2 * np.pi * (x / width * rng.uniform(0.5, 2) + rng.random()))
    above = y / height < rng.uniform(0.25, 0.75) + wave
    canvas[above] = _ground(other, [height, width], rng, scenes)[above]
    mask[:] = np.where(above, other, ground) + len(CLASSES) + 1


def _blocks(rng: np.random.Generator, shape: list[int], cell: int) -> _Array:
    """Random grey, 0 .. 1, in squares of ``cell`` pixels."""
    grid = rng.random((shape[0] // cell + 1, shape[1] // cell + 1), dtype=np.float32)
    return grid.repeat(cell, axis=0).repeat(cell, axis=1)[: shape[0], : shape[1]]


def _add_clutter(canvas: _Array, rng: np.random.Generator, scenes: Scenes) -> None:
    """A shape of no class: plain or striped, in a colour of heads or bodies."""
    height, width = canvas.shape[:2]
    turn, size = rng.uniform(0, np.pi), float(max(height, width) * rng.uniform(0.03, 0.11))
    left, top = int(rng.integers(width)), int(rng.integers(height))
    reach = int(1.5 * size) + 2
    window = canvas[max(0, top - reach) : top + reach, max(0, left - reach) : left + reach]
    x, y = _grid(list(window.shape[:2]))
    x, y = x - min(left, reach), y - min(top, reach)
    a = (x * np.cos(turn) + y * np.sin(turn)).astype(np.float32) / np.float32(size)
    b = (y * np.cos(turn) - x * np.sin(turn)).astype(np.float32) / np.float32(size)
    square, diamond = np.maximum(np.abs(a), np.abs(b) * 2), np.abs(a) + np.abs(b)
    outlines = (1 - np.hypot(a, b), 1 - square, 1 - diamond)
    colours = [colour for pair in scenes.heads for colour in pair] + list(scenes.bodies) * 2
    colour = np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, 14, 3)
    share = 0.5 + 0.5 * np.sin(rng.choice((0, 6)) * a)
    inside = _coverage(outlines[int(rng.integers(3))], size)
    _paint(window, inside, _mixed(colour, colour * 0.6, share))


def _photographed(canvas: _Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Uneven light and sensor noise."""
    x, y = _grid(list(canvas.shape[:2]))
    height, width, _ = canvas.shape
    slope_x, slope_y = rng.uniform(-0.2, 0.2, 2)
    light = rng.uniform(0.85, 1.1) + slope_x * (x / width - 0.5) + slope_y * (y / height - 0.5)
    noise = rng.normal(0, 6, canvas.shape).astype(np.float32)
    return np.clip(canvas * light[..., None] + noise, 0, 255).astype(np.uint8)
