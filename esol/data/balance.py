"""Warnings about the tags of a training list, from which some classes cannot be learned."""

from collections.abc import Collection, Sequence

from esol.data.names import skeleton

FEW = 10
"""Photos that a class should have at least."""

NEARLY_ALL = 0.95
"""Share of the photos above which a class has too few without it."""

_NAMED = 5

_NO_TAG = frozenset(
    (
        *("none", "null", "nan", "n/a", "nothing", "negative", "negatives", "untagged"),
        *("unlabeled", "unlabelled", "notag", "notags", "nolabel", "nolabels", "noclass"),
    )
)
"""Tags, without case, spaces, hyphens and underscores, by which people mean that there is none."""


def tag_warnings(
    split: str, photos: Sequence[Collection[int]], classes: Sequence[str], *, least: int = 0
) -> list[str]:
    """What stands against learning the classes, a line each.

    Args:
        split: name of the training list.
        photos: class indices of every photo, 0 .. K-1; none of a photo of background.
        classes: K names.
        least: classes with fewer photos than this are not called rare: that is said elsewhere.

    Examples:
        >>> tag_warnings("train", [{0}] * 40, ["cat"])[0][:47]
        "list 'train': class 'cat' is in all 40 photos: "
    """
    members: list[list[int]] = [[] for _ in classes]
    for index, tags in enumerate(photos):
        for tag in tags:
            members[tag].append(index)
    counts = list(map(len, members))
    lines = [
        *_meaning_none(classes),
        *_everywhere(counts, len(photos), classes),
        *_together(members, classes),
        *_rare(counts, classes, least),
    ]
    return [f"list {split!r}: {line}" for line in lines]


def _meaning_none(classes: Sequence[str]) -> list[str]:
    """Classes whose names say that a photo shows none."""
    words = [(name, skeleton(name)) for name in classes]
    found = [
        repr(name) for name, word in words if word in _NO_TAG or not any(map(str.isalnum, word))
    ]
    if not found:
        return []
    are = (
        f"tag {found[0]} is a class" if len(found) == 1 else f"tags {', '.join(found)} are classes"
    )
    return [
        f"{are} like any other: photos that show none of the classes have no tag: leave their"
        " labels empty, or put them in the folder _background"
    ]


def _everywhere(counts: list[int], total: int, classes: Sequence[str]) -> list[str]:
    """Classes that (nearly) every photo shows."""
    places = {n: f"all {n}" if n == total else f"{n} of {total}" for n in counts}
    return [
        f"class {name!r} is in {places[n]} photos: nothing shows what is not {name!r}: add photos"
        " that do not show it; they need no tag"
        for name, n in zip(classes, counts, strict=True)
        if n and n >= NEARLY_ALL * total
    ]


def _together(members: list[list[int]], classes: Sequence[str]) -> list[str]:
    """Classes that are in the very same photos, two or more."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, photos in zip(classes, members, strict=True):
        groups.setdefault(tuple(photos), []).append(repr(name))
    return [
        f"classes {' and '.join(names)} always come together ({len(photos)} photos): nothing tells"
        " one from the other: add photos with one of them, or make them one class"
        for photos, names in groups.items()
        if len(names) > 1 and len(photos) > 1
    ]


def _rare(counts: list[int], classes: Sequence[str], least: int) -> list[str]:
    """The classes with few photos in one line, the rarest first."""
    pairs = sorted(zip(counts, classes, strict=True))
    rare = [f"{name} ({n})" for n, name in pairs if least <= n < FEW]
    shown = ", ".join(rare[:_NAMED]) + (", ..." if len(rare) > _NAMED else "")
    return [f"too few photos to learn from: {shown}: give {FEW} or more"] if rare else []
