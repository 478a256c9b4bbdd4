"""What synthetic photos are like: easy scenes, for which the method is made, and hard ones."""

from dataclasses import dataclass

Range = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scenes:
    """What the photos of a set are like.

    Attributes:
        heads: the two colours of each class's head.
        bodies: colours of the body textures; class k has number k % len(bodies).
        grounds: colours of the six grounds.
        head: radius of a head, in units of its creature's size (half the body's length).
        alone, crowded: range of a creature's size, as a share of the photo's longest side.
        others: probabilities of 0, 1, 2 creatures of other classes in a photo.
        second: probability of a second creature of the photo's first class.
        fidelity: probability that the ground is the first class's; otherwise it is any of the six.
        clutter: least number of shapes of no class, and one more than the greatest.
        body, ground: contrast of the texture and deviation of the colour, 8-bit levels.
    """

    heads: tuple[tuple[Colour, Colour], ...]
    bodies: tuple[Colour, ...]
    grounds: tuple[Colour, ...]
    head: float
    alone: Range
    crowded: Range
    others: tuple[float, float, float]
    second: float
    fidelity: float
    clutter: tuple[int, int]
    body: Range
    ground: Range


EASY = Scenes(
    heads=(
        ((200, 20, 20), (255, 110, 100)),
        ((20, 40, 200), (110, 150, 255)),
        ((0, 110, 150), (60, 225, 250)),
        ((235, 160, 0), (255, 230, 60)),
        ((190, 0, 130), (255, 120, 215)),
        ((0, 120, 30), (90, 225, 90)),
    ),
    # Between the colours of classes k and k + 3.
    bodies=((150, 90, 55), (105, 75, 135), (60, 115, 100)),
    grounds=(
        *((215, 208, 196), (178, 176, 170), (192, 194, 198)),
        *((200, 194, 188), (165, 165, 165), (224, 222, 220)),
    ),
    head=0.3,
    alone=(0.3, 0.42),
    crowded=(0.26, 0.34),
    others=(0.85, 0.15, 0.0),
    second=0.0,
    fidelity=0.0,
    clutter=(0, 2),
    body=(24, 10),
    ground=(8, 4),
)
"""Scenes for which the method is made, and quick to learn."""

HARD = Scenes(
    heads=(
        ((215, 45, 40), (250, 235, 215)),
        ((40, 70, 200), (250, 240, 120)),
        ((25, 25, 30), (240, 240, 240)),
        ((225, 130, 20), (35, 60, 130)),
        ((120, 35, 140), (140, 235, 90)),
        ((20, 130, 120), (250, 190, 200)),
    ),
    bodies=((150, 110, 75), (110, 125, 85), (105, 110, 135)),
    grounds=(
        *((205, 185, 140), (95, 140, 75), (120, 155, 180)),
        *((165, 110, 90), (140, 140, 140), (190, 170, 190)),
    ),
    head=0.42,
    alone=(0.22, 0.38),
    crowded=(0.22, 0.31),
    others=(0.5, 0.35, 0.15),
    second=0.2,
    fidelity=0.7,
    clutter=(2, 6),
    body=(28, 22),
    ground=(30, 14),
)
"""Scenes on which Shrinkage gains nothing (docs/results/synthetic.md)."""
