"""Label Studio's run lengths: against its own functions where they are installed, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from esol.label_tools.brush import decode, encode

REGIONS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


@settings(max_examples=100, deadline=None)
@given(REGIONS)
def test_round_trip(region):
    np.testing.assert_array_equal(decode(encode(region), region.shape), region)


def test_long_runs_take_several_blocks():
    region = np.zeros((300, 301), bool)
    region[100:, 7:] = True
    np.testing.assert_array_equal(decode(encode(region), region.shape), region)


def test_a_stream_written_by_hand():
    """Two pixels, the second opaque: eight bytes, words one by one, four lengths of 3 bits."""
    words = (0, 0, 0, 0, 9, 9, 9, 200)
    bits = f"{8:032b}" + f"{7:05b}" + f"{2:04b}" * 4 + "0" + "00" + f"{7:03b}"
    bits += "".join(f"{word:08b}" for word in words)
    bits += "0" * (-len(bits) % 8)
    coded = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert decode(coded, (1, 2)).tolist() == [[False, True]]


@pytest.mark.parametrize("damage", ["cut", "size", "long", "byte"])
def test_damaged_streams_are_refused(damage):
    coded = encode(np.eye(9, dtype=bool))
    size = (9, 9)
    if damage == "cut":
        coded = coded[:-3]
    elif damage == "size":
        size = (9, 10)
    elif damage == "long":
        # The header now tells of fewer bytes than the blocks fill.
        coded, size = [*encode(np.eye(8, dtype=bool))[:4], *coded[4:]], (8, 8)
    else:
        coded = [*coded[:-1], 256]
    with pytest.raises((ValueError, OverflowError)):
        decode(coded, size)


def test_label_studios_own_functions_agree():
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed"
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        region = rng.random((17, 23)) < rng.choice([0.1, 0.5, 0.9])
        theirs = brush.decode_rle(encode(region)).reshape(17, 23, 4)
        np.testing.assert_array_equal(theirs[..., 3] > 0, region)
        coded = brush.mask2rle(region.astype(np.uint8) * 255)
        np.testing.assert_array_equal(decode(coded, region.shape), region)
