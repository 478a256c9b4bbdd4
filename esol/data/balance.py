"""Warnings about the tags of a training list, from which some classes cannot be learned."""

from collections.abc import Collection, Iterator, Sequence

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
    findings = tag_findings(photos, classes, least=least)
    return [f"list {split!r}: {finding}: {advice}" for finding, advice in findings]


def tag_findings(
    photos: Sequence[Collection[int]], classes: Sequence[str], *, least: int = 0
) -> list[tuple[str, str]]:
    """The same as :func:`tag_warnings` in parts: what stands against learning, and what to do."""
    members: list[list[int]] = [[] for _ in classes]
    for index, tags in enumerate(photos):
        for tag in tags:
            members[tag].append(index)
    counts = list(map(len, members))
    return [
        *_meaning_none(classes),
        *_everywhere(counts, len(photos), classes),
        *_together(members, classes),
        *_rare(counts, classes, least),
    ]


def _meaning_none(classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Classes whose names say that a photo shows none."""
    words = [(name, skeleton(name)) for name in classes]
    found = [
        repr(name) for name, word in words if word in _NO_TAG or not any(map(str.isalnum, word))
    ]
    if found:
        one = len(found) == 1
        yield (
            f"tag{'' if one else 's'} {', '.join(found)} {'is a class' if one else 'are classes'}"
            " like any other",
            "photos that show none of the classes have no tag: leave their labels empty, or put"
            " them in the folder _background",
        )


def _everywhere(counts: list[int], total: int, classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Classes that (nearly) every photo shows."""
    places = {n: f"all {n}" if n == total else f"{n} of {total}" for n in counts}
    for name, n in zip(classes, counts, strict=True):
        if n and n >= NEARLY_ALL * total:
            yield (
                f"class {name!r} is in {places[n]} photos: nothing shows what is not {name!r}",
                "add photos that do not show it; they need no tag",
            )


def _together(members: list[list[int]], classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Classes that are in the very same photos, two or more."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, photos in zip(classes, members, strict=True):
        groups.setdefault(tuple(photos), []).append(repr(name))
    for shared, names in groups.items():
        if len(names) > 1 and len(shared) > 1:
            together = f"classes {' and '.join(names)} always come together ({len(shared)} photos)"
            yield (
                f"{together}: nothing tells one from the other",
                "add photos with one of them, or make them one class",
            )


def _rare(counts: list[int], classes: Sequence[str], least: int) -> Iterator[tuple[str, str]]:
    """The classes with few photos in one finding, the rarest first."""
    pairs = sorted(zip(counts, classes, strict=True))
    rare = [f"{name} ({n})" for n, name in pairs if least <= n < FEW]
    if rare:
        shown = ", ".join(rare[:_NAMED]) + (", ..." if len(rare) > _NAMED else "")
        yield f"too few photos to learn from: {shown}", f"add photos, {FEW} or more of each"
