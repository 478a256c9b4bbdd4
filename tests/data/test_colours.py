"""Masks in colours: tables of colours of many tools, and what a mask by one of them shows."""

import json
from pathlib import Path

import numpy as np
import pytest
from opened import refused
from PIL import Image

from esol.data import open_dataset
from esol.data.classes import VOC_CLASSES
from esol.data.colours import FORMS, find_colours
from esol.data.images import palette, save_mask
from esol.data.masks import KINDS, Kind, MaskReader
from esol.errors import InputError
from esol.settings import Data

COLOURS = {"background": (0, 0, 0), "dog": (128, 0, 0), "cat": (7, 130, 200), "void": (9, 9, 9)}
MASK = np.array([[0, 1, 2, 255], [2, 2, 0, 1]], np.uint8)
"""Of the classes cat (1) and dog (2)."""

LOOKUP = {0: "background", 1: "cat", 2: "dog", 255: "void"}


def painted(mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) colours of a mask, pixel by pixel."""
    rows = [[COLOURS[LOOKUP[value]] for value in row] for row in mask.tolist()]
    return np.array(rows, np.uint8)


def data(root: Path, image: Image.Image | None = None, file: str = "a.png") -> Path:
    """Two photos, cat and dog, of which a has a mask in colours."""
    for name in "ab":
        path = root / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 2), "teal").save(path)
    (root / "labels.csv").write_text("image,labels\na,dog cat\nb,cat\n")
    (root / "masks").mkdir()
    (image or Image.fromarray(painted(MASK))).save(root / "masks" / file)
    lines = (f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in COLOURS.items())
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "".join(lines))
    return root


def read(root: Path, settings: Data | None = None) -> list[list[int]]:
    opened = open_dataset(root, settings or Data())
    assert opened.truth is not None
    return opened.truth(opened.splits["train"][0]).tolist()


@pytest.mark.parametrize(
    ("form", "example"), [(form, example) for form in FORMS for example in form.examples]
)
def test_every_example_of_the_page_is_a_table(form, example: str, tmp_path: Path) -> None:
    path = tmp_path / form.file.replace("*", "meta")
    path.write_text(example)
    table = find_colours(tmp_path, tmp_path)
    assert table is not None
    assert (table.file, table.names) == (path, {(128, 0, 0): "dog"})


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_mask_in_colours_is_read_by_names(tmp_path: Path, kind: str, suffix: str) -> None:
    image = Image.fromarray(painted(MASK))
    image = image.quantize(8) if kind == "P" else image.convert(kind)
    root = data(tmp_path, image, f"a.{suffix}")
    assert read(root) == MASK.tolist()
    assert open_dataset(root, Data()).classes == ("cat", "dog")


def test_the_order_of_the_table_is_not_that_of_the_classes(tmp_path: Path) -> None:
    root = data(tmp_path)
    assert read(root, Data(classes=("dog", "cat"))) == [[0, 2, 1, 255], [1, 1, 0, 2]]
    # A part of the classes: their colours are known, so no classes.txt is needed.
    assert read(root, Data(classes=("cat",))) == [[0, 1, 255, 255], [255, 255, 0, 1]]
    (root / "labelmap.txt").unlink()
    lines = ("dog:128,0,0", "background:0,0,0", "cat:7,130,200", "void:9,9,9")
    (root / "classes.txt").write_text("\n".join(lines))
    assert open_dataset(root, Data()).classes == ("dog", "cat")
    assert read(root) == [[0, 2, 1, 255], [1, 1, 0, 2]]


def test_an_unknown_colour_is_named_with_its_pixels(tmp_path: Path) -> None:
    colours = painted(MASK)
    colours[0, :2] = (1, 2, 3)
    root = data(tmp_path, Image.fromarray(colours))
    with pytest.raises(InputError, match=r"a.png: colour \(1, 2, 3\) of 2 pixels is not in .*map"):
        read(root)


def test_smooth_edges_are_refused_with_the_reason(tmp_path: Path) -> None:
    drawn = Image.fromarray(painted(np.repeat(np.repeat(MASK, 8, 0), 8, 1)))
    root = data(tmp_path, drawn.resize((4, 2), Image.Resampling.BILINEAR).rotate(10, expand=False))
    with pytest.raises(InputError, match="anti-aliasing"):
        read(root)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(painted(MASK)).convert("RGB").convert("CMYK"), ("mode CMYK",)),
        (Image.new("RGBA", (4, 2), (128, 0, 0, 254)), ("transparent",)),
        (Image.new("RGB", (4, 2), (200, 0, 0)), ("(200, 0, 0) of 8 pixels", "labelmap.txt")),
    ],
)
def test_masks_without_a_meaning(tmp_path: Path, image: Image.Image, words: tuple) -> None:
    root = data(tmp_path, image, "a.tif")
    with pytest.raises(InputError) as caught:
        read(root)
    assert all(word in str(caught.value) for word in words)


def test_a_name_that_is_not_a_class_is_named(tmp_path: Path) -> None:
    root = data(tmp_path)
    (root / "labels.csv").write_text("image,labels\na,dog\nb,dog\n")
    with pytest.raises(InputError, match=r"is 'cat' in .* which is not a class here"):
        read(root)


def test_grey_masks_have_numbers_unless_they_may_be_colours(tmp_path: Path) -> None:
    grey = Image.fromarray(MASK)
    root = data(tmp_path, grey)
    # The table has another order than the alphabet.
    with pytest.raises(InputError, match=r"grey mask with numbers, .* to classes\.txt"):
        read(root)
    (root / "classes.txt").write_text("cat\ndog\n")
    assert read(root) == MASK.tolist()
    # White is a colour of the table now, and 255 a number.
    with (root / "labelmap.txt").open("a") as file:
        file.write("cat:255,255,255::\n")
    assert read(root) == MASK.tolist()
    Image.fromarray((MASK == 2) * np.uint8(255)).save(root / "masks" / "a.png")
    with pytest.raises(InputError, match="255 may be a number or a colour"):
        read(root)
    (root / "labelmap.txt").write_text("background:0,0,0\ncat:255,255,255")
    assert read(root) == ((MASK == 2) * 1).tolist()
    Image.fromarray(MASK == 2).save(root / "masks" / "a.png")
    assert read(root) == ((MASK == 2) * 1).tolist()
    grey.save(root / "masks" / "a.png")
    with pytest.raises(InputError, match="not in"):
        read(root)


def test_borders_of_voc_are_ignored(tmp_path: Path) -> None:
    colours = painted(MASK)
    colours[0, 3] = palette()[255]
    assert read(data(tmp_path, Image.fromarray(colours))) == MASK.tolist()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("classes.txt", "cat:1,2,3\ndog", ("classes.txt: line 2", "write dog:R,G,B")),
        ("classes.txt", "cat 1 2 3\ndog 4 5 6", ("classes.txt: line 1", "as cat:1,2,3")),
        ("classes.txt", "cat:1,2,300", ("classes.txt: line 1", "0 .. 255")),
        ("labelmap.txt", "cat:1,2\n", ("labelmap.txt: line 1", "fix or remove it")),
        ("labelmap.txt", "cat:1,2,3\ndog:1,2,3", ("line 2", "'cat' and 'dog'", "its own")),
        ("table.json", '[{"name": "cat", "color": [1, 2, 300]}]', ("table.json: cat", "0 .. 255")),
        ("table.json", '[{"name": "cat", "color": "red"}]', ("table.json", "#rrggbb")),
        ("table.json", '{"cat": [1, 2, 3]}', ("table.json", "other colours than in", "keep one")),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, file: str, content: str, words: tuple) -> None:
    root = data(tmp_path)
    (root / file).write_text(content)
    refused(root, *words)


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{}", "[1]", '{"mean": [0.1, 0.2, 0.3]}', '{"cat": 1}', "[[1, 2, 3]]", "{"),
        '{"images": [], "annotations": [], "categories": [{"name": "cat", "color": [1, 2, 3]}]}',
        '[{"name": "cat"}]',
        '{"a.jpg": [480, 640, 3], "cat": [1, 2, 3]}',
        '{"classes": ["cat", "dog"], "palette": [[1, 2, 3]]}',
    ],
)
def test_other_json_files_are_no_tables(tmp_path: Path, content: str) -> None:
    root = data(tmp_path)
    (root / "other.json").write_text(content)
    assert read(root) == MASK.tolist()


def test_a_labelmap_of_names_alone_is_no_table(tmp_path: Path) -> None:
    root = data(tmp_path, Image.fromarray(MASK))
    (root / "labelmap.txt").write_text("cat\ndog\n")
    assert find_colours(root / "masks", root) is None
    assert read(root) == MASK.tolist()


def test_tables_that_agree_are_one(tmp_path: Path) -> None:
    root = data(tmp_path)
    described = [{"name": name, "color": colour} for name, colour in COLOURS.items()]
    (root / "masks" / "labels.json").write_text(json.dumps(described))
    assert read(root) == MASK.tolist()


@pytest.mark.parametrize("own", [True, False])
def test_in_the_layout_of_voc_own_classes_are_the_tables(tmp_path: Path, own: bool) -> None:
    names = ("dog", "moss" if own else "cat")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (4, 2), "teal").save(tmp_path / "JPEGImages" / f"{name}.jpg")
        image = Image.fromarray(painted(MASK)).quantize(8)
        image.save(tmp_path / "SegmentationClass" / f"{name}.png")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (tmp_path / "labels.csv").write_text(f"image,labels\na,{' '.join(names)}\nb,dog\n")
    lines = zip(("background", *names, "ignore"), COLOURS.values(), strict=True)
    text = "".join(f"{name}:{','.join(map(str, colour))}::\n" for name, colour in lines)
    (tmp_path / "labelmap.txt").write_text(text)
    classes = open_dataset(tmp_path, Data()).classes
    assert classes == (names if own else VOC_CLASSES)
    dog, other = (classes.index(name) + 1 for name in names)
    assert read(tmp_path) == [[0, other, dog, 255], [dog, dog, 0, other]]


def test_another_table_is_another_ground_truth(tmp_path: Path) -> None:
    root = data(tmp_path)
    first = open_dataset(root, Data()).truth_fingerprint("train")
    text = (root / "labelmap.txt").read_text()
    swapped = text.replace("dog", "x").replace("cat", "dog").replace("x:", "cat:")
    (root / "labelmap.txt").write_text(swapped)
    assert open_dataset(root, Data()).truth_fingerprint("train") != first


def test_random_masks_come_back_bit_for_bit(tmp_path: Path) -> None:
    known = tuple(f"class {n}" for n in range(254))
    rng = np.random.default_rng(0)
    codes = rng.choice(2**24 - 2**20, 256, replace=False)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1).astype(np.uint8)
    names = ("background", *known, "ignore")
    table = dict(zip(names, colours.tolist(), strict=True))
    (tmp_path / "t.json").write_text(json.dumps(table))
    mask = rng.integers(0, 256, (40, 50), np.uint8)
    Image.fromarray(colours[mask]).save(tmp_path / "a.png")
    reader = MaskReader(known, find_colours(tmp_path, tmp_path))
    assert np.array_equal(reader(tmp_path / "a.png"), mask)


def photos_and_masks(root: Path, photos: tuple[str, ...], masks: tuple[str, ...]) -> Path:
    for name in photos:
        path = root / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 2), "teal").save(path)
    (root / "labels.csv").write_text("image,labels\n" + "".join(f"{n},cat\n" for n in photos))
    for name in masks:
        path = root / "masks" / name
        save_mask(np.ones((2, 4), np.uint8), root / "masks" / "x.png")
        with Image.open(root / "masks" / "x.png") as image:
            image.convert("L" if path.suffix == ".jpg" else "P").save(path)
        (root / "masks" / "x.png").unlink()
    return root


@pytest.mark.parametrize(
    ("photos", "masks", "found"),
    [
        (("a", "b"), ("a_mask.png", "b_mask.png"), ("a_mask.png", "b_mask.png")),
        (("a", "b"), ("a-GT.bmp", "b-gt.BMP"), ("a-GT.bmp", "b-gt.BMP")),
        (("a", "b"), ("a_Label.tif", "c_label.tif"), ("a_Label.tif", None)),
        # The photos themselves are called so.
        (("a_mask", "b_mask"), ("a_mask.png", "b_mask.png"), ("a_mask.png", "b_mask.png")),
        (("a", "a_mask"), ("a.png", "a_mask.png"), ("a.png", "a_mask.png")),
        (("a", "b"), ("a.png", "b.jpg", "a.jpg"), "may not keep its values: export"),
        (("a", "b"), ("a.jpg", "b.jpg"), "keep its values (2 such files): export masks as PNG"),
        (("a", "b"), ("a.png", "b_mask.png"), "named in two ways, a and b_mask"),
        (("a", "b"), ("a_gt.png", "a_mask.png"), "named in two ways, a_gt and a_mask"),
        (("a", "b"), ("a.png", "a.bmp"), "keep one mask of a photo"),
    ],
)
def test_names_of_masks(
    tmp_path: Path, photos: tuple[str, ...], masks: tuple[str, ...], found: tuple | str
) -> None:
    root = photos_and_masks(tmp_path, photos, masks)
    if isinstance(found, str):
        refused(root, found)
        return
    samples = open_dataset(root, Data()).splits["train"]
    assert tuple(sample.mask and sample.mask.name for sample in samples) == found


def test_a_jpeg_is_no_mask_whatever_its_name(tmp_path: Path) -> None:
    root = photos_and_masks(tmp_path, ("a", "b"), ("a.png",))
    Image.new("L", (4, 2), 1).save(root / "masks" / "a.png", format="JPEG")
    with pytest.raises(InputError, match="JPEG inside, which may not keep"):
        read(root)


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind in KINDS for mode in kind.modes])
@pytest.mark.parametrize("table", [False, True])
def test_every_kind_is_read_as_the_page_says(
    tmp_path: Path, kind: Kind, mode: str, table: bool
) -> None:
    values = np.array([[0, 1], [1, 0]], np.uint8)
    colours = np.array([[0, 0, 0], [128, 0, 0]], np.uint8)
    numbers = Image.fromarray(values * np.uint8(255)) if mode == "1" else Image.fromarray(values)
    image = Image.fromarray(colours[values]) if mode in ("RGB", "RGBA", "CMYK") else numbers
    if mode == "P":
        # By its numbers, a palette image shows the opposite.
        image = Image.fromarray(1 - values)
        image.putpalette(colours[::-1].tobytes())
    elif mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    else:
        image = image.convert(mode)
    assert image.mode == mode
    image.save(tmp_path / "a.tif")
    if table:
        (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ndog:128,0,0::")
    reader = MaskReader(("dog",), find_colours(tmp_path, tmp_path))
    said = kind.by_table if table else kind.alone
    if not said:
        with pytest.raises(InputError, match=r"a\.tif"):
            reader(tmp_path / "a.tif")
    else:
        inverted = mode == "P" and not table
        assert reader(tmp_path / "a.tif").tolist() == (1 - values if inverted else values).tolist()
