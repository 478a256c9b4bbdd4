"""Masks, saliency maps, class names, and folders of masks to be measured."""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from corpus import Command, Kind, Place, noise
from corpus.images import SMOKE, encoded
from esol.data import open_dataset
from esol.data.images import load_mask, save_mask
from esol.data.saliency import load_saliency
from esol.settings import Data

SIZE = (32, 24)
ONES = np.ones((24, 32), np.uint8)
MASK = Image.fromarray(ONES)


def instead(content: bytes) -> Callable[[Place], Command]:
    """``esol check`` of a data set in which the mask of a is another file."""

    def make(place: Place) -> Command:
        (place.data / "masks" / "a.png").write_bytes(content)
        return ["check", place.data]

    return make


def stored(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    return encoded(image, form, **options)


def palette_image(colours: int) -> Image.Image:
    """All pixels of value 1 in an image of so many colours."""
    image = Image.new("P", SIZE, 1)
    image.putpalette([255, 0, 0] * colours)
    return image


REFUSED = {
    "in colours": (stored(MASK.convert("RGB")), "save it as a palette or grey PNG"),
    "in colours with alpha": (stored(MASK.convert("RGBA")), "save it as a palette or grey PNG"),
    "grey with alpha": (stored(MASK.convert("LA")), "save it as a palette or grey PNG"),
    "floating-point": (stored(MASK.convert("F"), "TIFF"), "save it as a palette or grey PNG"),
    "a JPEG called .png": (stored(MASK, "JPEG"), "export it from its source as PNG"),
    "CMYK": (stored(MASK.convert("CMYK"), "JPEG"), "save it as a palette or grey PNG"),
    "of another size": (stored(Image.fromarray(ONES[:9, :9])), "make them equal"),
    "turned": (stored(Image.fromarray(ONES.T.copy())), "make them equal"),
    "with a value of no class": (stored(Image.fromarray(ONES * 3)), "use 0, 1 .. 2 and 255"),
    "with values above 255": (
        stored(Image.fromarray(np.full((24, 32), 300, np.uint16))),
        "must lie in 0 .. 255",
    ),
    "with values below 0": (
        stored(Image.fromarray(np.full((24, 32), -1, np.int32)), "TIFF"),
        "must lie in 0 .. 255",
    ),
    "cut off": (stored(palette_image(256))[:-30], "replace or remove the file"),
    "of zero bytes": (b"", "replace or remove the file"),
    "a text": (b"mask", "replace or remove the file"),
}

READ = {
    "palette of 2 colours": stored(palette_image(2), bits=1),
    "palette of 16 colours": stored(palette_image(16), bits=4),
    "palette with transparency": stored(palette_image(256), transparency=1),
    "bilevel": stored(Image.new("1", SIZE, 1)),
    "16-bit": stored(Image.fromarray(ONES.astype(np.uint16))),
    "a GIF called .png": stored(palette_image(256), "GIF", optimize=False),
}


def is_ones(place: Place) -> None:
    """The mask of a is of class 1 all over."""
    data = open_dataset(place.data, Data())
    assert data.truth is not None
    assert (data.truth(data.samples("train")[0]) == 1).all()


TABLE = "background:0,0,0::\ncat:200,0,0::\ndog:0,0,200::\n"
RED = Image.new("RGB", SIZE, (200, 0, 0))


def in_colours(mask: Image.Image, place: Place, *more: tuple[str, str]) -> Command:
    """``esol check`` of a data set whose only mask is this one, of a; tables beside it."""
    for path in (place.data / "masks").iterdir():
        path.unlink()
    mask.save(place.data / "masks" / "a.png")
    for name, content in (("labelmap.txt", TABLE), *more):
        (place.data / name).write_text(content)
    return ["check", place.data]


def smooth() -> Image.Image:
    """A class whose edge is mixed with the background."""
    drawn = RED.copy()
    drawn.paste(0, (0, 0, 16, 24))
    return drawn.resize((8, 24), Image.Resampling.BICUBIC).resize(SIZE, Image.Resampling.BICUBIC)


def named_in_two_ways(place: Place) -> Command:
    mask = place.data / "masks" / "b.png"
    mask.rename(mask.with_name("b_mask.png"))
    return ["check", place.data]


def only_jpeg(place: Place) -> Command:
    for path in (place.data / "masks").iterdir():
        MASK.save(path.with_suffix(".jpg"))
        path.unlink()
    return ["check", place.data]


def many_of_another_size(place: Place) -> Command:
    """One line is said of all of them."""
    for path in (place.data / "masks").iterdir():
        save_mask(ONES[:9, :9], path)
    return ["check", place.data]


def untagged(classes: str, place: Place) -> Command:
    """``esol prepare tags`` of a sound data set without its tags."""
    (place.data / "labels.csv").unlink()
    if classes:
        (place.data / "classes.txt").write_text(classes)
    return ["prepare", "tags", place.data]


def tagged_before(place: Place) -> Command:
    (place.data / "classes.txt").write_text("dog\ncat\n")
    return ["prepare", "tags", place.data]


def of_masks(place: Place) -> None:
    """The tags are those that the sound data set has."""
    data = open_dataset(place.data, Data())
    assert [sample.tags for sample in data.splits["train"]] == [(0,), (0, 1), (1,), (0, 1)]


def of_other_names(place: Place) -> Command:
    for path in [*(place.data / "masks").iterdir()]:
        path.rename(path.with_name(f"mask_{path.stem}.png"))
    return ["check", place.data]


def all_ignored(place: Place) -> Command:
    for path in (place.data / "masks").iterdir():
        save_mask(ONES * 255, path)
    return ["evaluate", place.data / "masks", "--gt", place.data / "masks"]


def of_0_and_255(command: str, place: Place) -> Command:
    """All that is not background is ignored, as binary masks of 8 bits are often stored."""
    for path in (place.data / "masks").iterdir():
        save_mask((load_mask(path) > 0) * np.uint8(255), path)
    if command == "evaluate":
        return ["evaluate", place.data / "masks", "--gt", place.data / "masks"]
    if command == "check":
        return ["check", place.data]
    return ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]"]


def a_class_more(command: str, place: Place) -> Command:
    """A tag that the alphabet puts first, so that all values of the masks mean the next class."""
    for name in "ef":
        noise(24, 32).save(place.data / "images" / f"{name}.jpg")
    with (place.data / "labels.csv").open("a") as file:
        file.write("images/e.jpg,bird\nimages/f.jpg,bird\n")
    if command == "check":
        return ["check", place.data]
    return ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]"]


def class_names(content: bytes, place: Place) -> Command:
    (place.data / "classes.txt").write_bytes(content)
    return ["check", place.data]


def background_tagged(place: Place) -> Command:
    rows = (place.data / "labels.csv").read_text().replace("cat", "background")
    (place.data / "labels.csv").write_text(rows)
    return class_names(b"background\ndog\n", place)


def a_class_less(place: Place) -> Command:
    """The masks that show the class are wrong too; a run tells the first problem."""
    (place.data / "classes.txt").write_text("cat\n")
    return ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]"]


def order_is_that_of_the_file(place: Place) -> None:
    assert open_dataset(place.data, Data()).classes == ("dog", "cat")


def saliency(image: Image.Image | bytes, place: Place) -> Command:
    """``esol check`` of a data set whose photo a has this saliency map."""
    folder = place.data / "Saliency"
    folder.mkdir()
    for name in "bcd":
        Image.new("L", SIZE).save(folder / f"{name}.png")
    if isinstance(image, bytes):
        (folder / "a.png").write_bytes(image)
    else:
        image.save(folder / "a.png")
    return ["check", place.data, "--masks.saliency=Saliency"]


def salient(value: float, place: Place) -> None:
    found = load_saliency(place.data / "Saliency" / "a.png", (24, 32))
    assert np.abs(found - value).max() < 0.01


def measured(spoil: Callable[[Place], object], place: Place, *flags: str) -> Command:
    """``esol evaluate`` of the masks against a copy of themselves, spoilt."""
    truth = place.folder / "truth"
    for path in (place.data / "masks").iterdir():
        save_mask(load_mask(path), truth / path.name)
    spoil(place)
    return ["evaluate", place.data / "masks", "--gt", truth, *flags]


def listed(content: bytes) -> Callable[[Place], Command]:
    def make(place: Place) -> Command:
        file = place.write("names.txt", content)
        return measured(lambda place: None, place, "--list", str(file))

    return make


def gone(place: Place) -> None:
    (place.data / "masks" / "b.png").unlink()


def small(place: Place) -> None:
    save_mask(ONES[:5, :5], place.data / "masks" / "b.png")


def coloured(place: Place) -> None:
    MASK.convert("RGB").save(place.data / "masks" / "b.png")


def empty(place: Place) -> None:
    for path in (place.folder / "truth").iterdir():
        path.unlink()


KINDS = (
    *(
        Kind(f"mask: {name}", instead(content), ("masks/a.png", fix))
        for name, (content, fix) in REFUSED.items()
    ),
    *(Kind(f"mask: {name}", instead(content), then=is_ones) for name, content in READ.items()),
    Kind("masks: names that are no photo's", of_other_names, ("masks", "names like a.png")),
    Kind("masks: in colours of a table", partial(in_colours, RED), then=is_ones),
    Kind(
        "masks: in colours, of which one is not in the table",
        partial(in_colours, Image.new("RGB", SIZE, (9, 0, 200))),
        ("masks/a.png", "(9, 0, 200) of 768 pixels", "labelmap.txt"),
    ),
    Kind("masks: smooth edges", partial(in_colours, smooth()), ("masks/a.png", "anti-aliasing")),
    Kind(
        "masks: two tables of colours",
        lambda place: in_colours(RED, place, ("colours.json", '{"cat": [1, 2, 3]}')),
        ("colours.json", "keep one of the two"),
    ),
    Kind(
        "masks: a table of colours with one twice",
        lambda place: in_colours(RED, place, ("labelmap.txt", f"{TABLE}cow:0,0,200::")),
        ("labelmap.txt: line 4", "give each class its own"),
    ),
    Kind(
        "masks: class names with and without colours",
        lambda place: in_colours(RED, place, ("classes.txt", "cat:200,0,0\ndog")),
        ("classes.txt: line 2", "write dog:R,G,B"),
    ),
    Kind("masks: named in two ways", named_in_two_ways, ("masks", "name all like one of them")),
    Kind("masks: JPEG", only_jpeg, ("masks/a.jpg", "4 such files", "export masks as PNG")),
    Kind("masks: all of another size", many_of_another_size, ("masks/a.png", "and 3 more like")),
    Kind("prepare tags: no names", partial(untagged, ""), ("masks", "classes.txt")),
    Kind(
        "prepare tags: a class less", partial(untagged, "cat\n"), ("masks/b.png", "use 0, 1 .. 1")
    ),
    Kind("prepare tags: other tags are there", tagged_before, ("labels.csv", "move it away")),
    Kind("prepare tags: sound", partial(untagged, "cat\ndog\n"), then=of_masks),
    Kind("evaluate: nothing but 255", all_ignored, ("masks", "add ground truth")),
    *(
        Kind(f"{c}: masks of 0 and 255", partial(of_0_and_255, c), ("masks", "store 1 for the"))
        for c in ("evaluate", "check", "run")
    ),
    *(
        Kind(f"{c}: a new tag", partial(a_class_more, c), ("masks", "4 of 4", "to classes.txt"))
        for c in ("check", "run")
    ),
    Kind("evaluate: a mask is missing", partial(measured, gone), ("masks/b.png", "add it")),
    Kind("evaluate: another size", partial(measured, small), ("masks/b.png", "photo's size")),
    Kind("evaluate: in colours", partial(measured, coloured), ("masks/b.png", "palette or grey")),
    Kind("evaluate: no ground truth", partial(measured, empty), ("truth", "name another folder")),
    Kind("evaluate: list of no mask", listed(b"x\n"), ("x.png", "add it, or list", "--list FILE")),
    Kind("evaluate: empty list", listed(b"\n\n"), ("names.txt", "one name per line")),
    Kind("evaluate: list no UTF-8", listed(b"caf\xe9\n"), ("names.txt", "save it as UTF-8")),
    Kind("evaluate: list with a name twice", listed(b"a\na\n"), ("names.txt", "remove one")),
    Kind(
        "evaluate: list with BOM and CRLF", listed(b"\xef\xbb\xbfa\r\nb\r\n"), then=lambda p: None
    ),
    Kind(
        "class names: one twice",
        partial(class_names, b"cat\ncat\ndog\n"),
        ("classes.txt", "remove one"),
    ),
    Kind(
        "class names: begins with background",
        partial(class_names, b"\n background\ncat\ndog\n"),
        ("classes.txt: line 2", "remove 'background', which is value 0 in any case"),
    ),
    Kind(
        "class names: as labelme lists them",
        partial(class_names, b"__ignore__\n_background_\ncat\ndog\n"),
        ("classes.txt: line 1", "remove '__ignore__', which is value 255 in any case"),
    ),
    Kind(
        "class names: empty file", partial(class_names, b""), ("classes.txt", "one name per line")
    ),
    Kind("class names: a tag missing", a_class_less, ("classes.txt", "add a line")),
    Kind("class names: no UTF-8", partial(class_names, b"cat\nd\xf6g\n"), ("classes.txt", "UTF-8")),
    Kind(
        "class names: background, which is a tag too",
        background_tagged,
        ("data", "rename the tag"),
    ),
    Kind(
        "class names: 300",
        partial(class_names, "".join(f"{n}\n" for n in ("cat", "dog", *range(298))).encode()),
        ("data", "must be 1 .. 254"),
    ),
    Kind(
        "class names: BOM and CRLF",
        partial(class_names, b"\xef\xbb\xbfdog\r\ncat\r\n"),
        then=order_is_that_of_the_file,
    ),
    Kind(
        "saliency: in colours",
        partial(saliency, MASK.convert("RGB")),
        ("Saliency/a.png", "grey image"),
    ),
    Kind(
        "saliency: of another shape",
        partial(saliency, Image.new("L", (99, 9))),
        ("Saliency/a.png", "make the saliency map again"),
    ),
    Kind("saliency: of zero bytes", partial(saliency, b""), ("Saliency/a.png", "replace")),
    Kind(
        "saliency: 16-bit",
        partial(saliency, Image.fromarray(np.full((24, 32), 32768, np.uint16))),
        then=partial(salient, 0.5),
    ),
    Kind("saliency: bilevel", partial(saliency, Image.new("1", SIZE, 1)), then=partial(salient, 1)),
    Kind(
        "saliency: half size",
        partial(saliency, Image.new("L", (16, 12), 255)),
        then=partial(salient, 1),
    ),
)
