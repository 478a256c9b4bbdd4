"""Saliency maps: reading, sizes, and the fusion pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esol.data.images import image_size, load_mask
from esol.data.saliency import find_saliency, load_saliency, saliency_folder
from esol.errors import InputError
from esol.masks.fusion import fuse


def _save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(("kind", "highest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_grey_levels_become_shares_of_the_highest(tmp_path, kind, highest):
    values = np.array([[0, 1, highest // 5], [highest // 3, highest - 1, highest]], kind)
    result = load_saliency(_save(tmp_path / "a.png", values), (2, 3))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, values / highest, rtol=1e-6)


def test_bilevel_is_0_and_1(tmp_path):
    path = _save(tmp_path / "a.png", np.array([[True, False]]))
    assert load_saliency(path, (1, 2)).tolist() == [[1, 0]]


@pytest.mark.parametrize("mode", ["P", "RGB", "LA", "F"])
def test_other_kinds_are_refused(tmp_path, mode):
    path = tmp_path / ("a.tiff" if mode == "F" else "a.png")
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(InputError, match=rf"a\..*mode {mode}.*grey"):
        load_saliency(path, (4, 4))


def test_16_bit_values_out_of_range_are_refused(tmp_path):
    path = tmp_path / "a.tiff"
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(path)
    with pytest.raises(InputError, match=r"outside 0 \.\. 65535"):
        load_saliency(path, (2, 2))


def test_half_size_is_interpolated_between_pixel_centres(tmp_path):
    path = _save(tmp_path / "a.png", np.array([[0, 100], [200, 100]], np.uint8))
    result = load_saliency(path, (4, 4)) * 255
    # Centres of the large pixels lie at -1/4, 1/4, 3/4, 5/4 of the small ones; edges are extended.
    weight = np.array([0, 0.25, 0.75, 1])
    rows = np.stack([0 + weight * 200, 100 + weight * 0], 1)
    expected = rows[:, :1] * (1 - weight) + rows[:, 1:] * weight
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_a_larger_map_is_averaged_down(tmp_path):
    random = np.random.default_rng(0)
    values = random.integers(0, 2, (80, 60)).astype(np.uint8) * 255
    result = load_saliency(_save(tmp_path / "a.png", values), (20, 15))
    # Four by four noisy pixels and more are averaged into one: taking single ones would keep 0, 1.
    assert 0.3 < result.mean() < 0.7
    assert result.std() < 0.2


@pytest.mark.parametrize(
    ("photo", "size", "fits"),
    [
        ((333, 500), (166, 250), True),  # 166.5 rounded down
        ((333, 500), (167, 250), True),
        ((500, 333), (250, 166), True),
        ((500, 333), (150, 99), True),  # 99.9 rounded down: the longer side seems off by 1.35
        ((333, 500), (168, 250), False),
        ((333, 500), (165, 250), False),
        ((500, 333), (333, 500), False),
        ((333, 500), (256, 256), False),
        ((333, 500), (666, 1000), True),
        ((333, 500), (666, 1004), False),
    ],
)
def test_shape_must_be_the_photos(tmp_path, photo, size, fits):
    path = _save(tmp_path / "a.png", np.full(size, 77, np.uint8))
    # The rule, side by side: one of them is within a pixel of what the other asks for.
    off = abs(size[0] - photo[0] * size[1] / photo[1]), abs(size[1] - photo[1] * size[0] / photo[0])
    assert (min(off) <= 1) is fits
    if fits:
        result = load_saliency(path, photo)
        assert result.shape == photo
        np.testing.assert_allclose(result, 77 / 255, rtol=1e-5)
        return
    with pytest.raises(InputError) as failure:
        load_saliency(path, photo)
    text = str(failure.value)
    assert str(path) in text
    assert f"{size[1]} x {size[0]}" in text
    assert f"{photo[1]} x {photo[0]}" in text


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.png"):
        load_saliency(tmp_path / "a.png", (1, 1))
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(InputError, match=r"b\.png"):
        load_saliency(tmp_path / "b.png", (1, 1))


def test_found_by_the_photos_name(tmp_path):
    grey = np.zeros((1, 1), np.uint8)
    for name in ("a.png", "cats/b.jpg", "c.v2.PNG", "d.png", "d.jpg"):
        _save(tmp_path / name, grey)
    assert find_saliency(tmp_path, "a") == tmp_path / "a.png"
    assert find_saliency(str(tmp_path), "cats/b") == tmp_path / "cats" / "b.jpg"
    assert find_saliency(tmp_path, "c.v2") == tmp_path / "c.v2.PNG"
    with pytest.raises(InputError, match=r"c\.png.*no saliency map of the photo c"):
        find_saliency(tmp_path, "c")
    with pytest.raises(InputError, match=r"d\.png and .*d\.jpg.*keep one"):
        find_saliency(tmp_path, "d")


def test_the_data_folder_comes_first(tmp_path, monkeypatch):
    data, cwd = tmp_path / "data", tmp_path / "here"
    for folder in (data / "a", cwd / "a", cwd / "b"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(cwd)
    assert saliency_folder(data, "a") == data / "a"
    assert saliency_folder(data, "b").resolve() == cwd / "b"
    assert saliency_folder(data, str(cwd / "a")) == cwd / "a"
    assert saliency_folder(data, "../here/b").resolve() == cwd / "b"
    with pytest.raises(InputError, match=r"masks\.saliency = 'c'.*no such folder"):
        saliency_folder(data, "c")


def _loop(scores, classes, saliency, salient, threshold):
    mask = np.zeros(saliency.shape, np.uint8)
    for y, x in np.ndindex(*saliency.shape):
        best, value = np.float32(-1), 0
        for score, index in zip(scores[:, y, x], classes, strict=True):
            if score > best:
                best, value = score, index + 1
        named = best > np.float32(threshold)
        if saliency[y, x] >= np.float32(salient):
            mask[y, x] = value if named else 255
        elif named and best > np.float32(0.9):
            mask[y, x] = 255
    return mask


@pytest.mark.parametrize("number", range(8))
def test_fusion_equals_a_loop_over_pixels(number):
    random = np.random.default_rng(number)
    count = int(random.integers(0, 4))
    classes = sorted(random.choice(20, count, replace=False).tolist())
    # Few levels, so that ties with the cuts are frequent; 0.9 and 1 are among them.
    scores = (random.integers(0, 11, (count, 9, 8)) / 10).astype(np.float32)
    saliency = (random.integers(0, 11, (9, 8)) / 10).astype(np.float32)
    for salient, threshold in ((0.5, 0.2), (0.3, 0.0), (1.0, 1.0)):
        mask = fuse(
            scores, np.array(classes, np.int64), saliency, salient=salient, threshold=threshold
        )
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, _loop(scores, classes, saliency, salient, threshold))


def test_every_decision_of_the_fusion():
    scores = np.array([[[0.3, 0.1, 0.8, 0.95]], [[0.6, 0.2, 0.1, 0.0]]], np.float32)
    saliency = np.array([[0.5, 0.9, 0.49, 0.1]], np.float32)
    mask = fuse(scores, np.array([4, 7]), saliency, salient=0.5, threshold=0.2)
    assert mask.tolist() == [[8, 255, 0, 255]]


def test_fusion_refuses_another_size():
    with pytest.raises(ValueError, match="differ in size"):
        fuse(
            np.zeros((1, 2, 2), np.float32),
            np.array([0]),
            np.zeros((2, 3), np.float32),
            salient=0.5,
            threshold=0.2,
        )


def test_real_maps_at_half_size_show_the_photos_objects(shared):
    """Salient pixels hold objects: 50 real photos, maps at half their size."""
    root = shared / "data" / "voc-animals"
    names = (root / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[:50]
    hits = pixels = objects = everything = 0
    for name in names:
        truth = load_mask(root / "SegmentationClassAug" / f"{name}.png")
        path = find_saliency(root / "Saliency", name)
        assert image_size(path) != truth.shape
        salient = load_saliency(path, truth.shape) >= 0.5
        valid = truth != 255
        hits += int((salient & valid & (truth > 0)).sum())
        pixels += int((salient & valid).sum())
        objects += int((valid & (truth > 0)).sum())
        everything += int(valid.sum())
    assert hits / pixels > 0.8
    assert hits / objects > 0.5
    assert hits / pixels > 2 * objects / everything


def test_maps_are_found_with_any_ending_and_in_either_form_of_unicode(tmp_path):
    for stored in ("a.Png", "b.TIFF", "Ka\u0308fer.PNG"):
        (tmp_path / stored).touch()
    found = [find_saliency(tmp_path, name).name for name in ("a", "b", "K\u00e4fer")]
    assert found == ["a.Png", "b.TIFF", "Ka\u0308fer.PNG"]
