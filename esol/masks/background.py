"""How much of the photos is background: an estimate, and what it says of masks."""

from dataclasses import dataclass

_STRONG = 0.4
"""Difference between the shares of background in masks and by the CRF that is worth a warning."""


@dataclass(frozen=True)
class Background:
    """An estimate of the share of the pixels that belong to no tagged class.

    Attributes:
        share: 0 .. 1.
        certainty: how clear the evidence is, 0 .. 1; 0: there is none.
    """

    share: float
    certainty: float


def background_warning(masks: float, crf: Background) -> str:
    """One sentence where a CRF clearly suggests another share of background than masks have."""
    return ": ".join(background_finding(masks, crf))


def background_finding(masks: float, crf: Background) -> tuple[str, ...]:
    """The parts of :func:`background_warning`, what is odd and what to do; () where nothing is."""
    if crf.certainty < 1 or abs(masks - crf.share) < _STRONG:
        return ()
    filled = max(1, round(100 - 100 * crf.share))
    return (
        f"background fills {100 * masks:.0f} % of the masks, but a CRF, which follows the photos'"
        f" colours, suggests {100 * crf.share:.0f} %",
        "look at the masks, and say how much of a photo the objects fill: masks.threshold"
        f" {filled}%, or what you see",
    )
