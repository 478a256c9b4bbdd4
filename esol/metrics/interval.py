"""How far the metrics of masks move with the photos that they are measured on: a bootstrap."""

import hashlib

import numpy as np

from esol.metrics.confusion import Counts, metrics

DRAWS = 200
"""Resamples of the photos."""

_ENDS = (2.5, 97.5)


def times_drawn(photo: str) -> Counts:
    """(1 + DRAWS,) how often a photo counts: once as it is, then in each resample.

    In a resample a photo counts Poisson(1) times, which needs no list of all photos (Hanley and
    MacGibbon 2006). The photo's name decides, so equal sets give equal resamples in any order, on
    any number of processes.
    """
    seed = int.from_bytes(hashlib.sha256(photo.encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).poisson(1.0, DRAWS)
    return np.concatenate([[1], drawn]).astype(np.int64)


def miou_interval(resamples: Counts) -> tuple[float, float]:
    """Ends of the 95 % interval of mIoU, of (DRAWS, K+1, K+1) counts; NaN where none has pixels."""
    values = metrics(resamples).miou
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.percentile(values, _ENDS)
    return float(low), float(high)
