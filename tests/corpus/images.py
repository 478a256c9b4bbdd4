"""Photos: damaged, of odd kinds, and of odd sizes."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from corpus import Command, Kind, Place, noise
from esol.data import open_dataset
from esol.data.images import image_size, load_image
from esol.settings import Data


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """Bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file from its raw rows, each of which begins with a filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    blocks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in blocks
    )


def instead(content: bytes, suffix: str = ".jpg") -> Callable[[Place], Command]:
    """``esol check`` of a data set in which photo a is another file."""

    def make(place: Place) -> Command:
        (place.data / "images" / "a.jpg").unlink()
        (place.data / "images" / f"a{suffix}").write_bytes(content)
        rows = (place.data / "labels.csv").read_text()
        (place.data / "labels.csv").write_text(rows.replace("a.jpg", f"a{suffix}"))
        return ["check", place.data, "--data.masks", "masks"]

    return make


def photo_of(place: Place) -> Path:
    """File of photo a, as the data set has it."""
    return open_dataset(place.data, Data()).samples("train")[0].image


def shows(*colours: tuple[int, int, int]) -> Callable[[Place], None]:
    """Photo a has its 24 x 32 pixels, and these colours in equal upright stripes."""

    def then(place: Place) -> None:
        image = load_image(photo_of(place))
        assert (image.size, image.mode) == ((32, 24), "RGB")
        width = 32 // len(colours)
        for number, colour in enumerate(colours):
            found = image.getpixel((number * width + width // 2, 12))
            assert max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= 4, found

    return then


SMOKE = Path(__file__).parent.parent / "smoke.yaml"
SIZE = (32, 24)
JPEG = encoded(noise(24, 32), "JPEG")
PNG = encoded(noise(24, 32), "PNG")
RED, BLUE = Image.new("RGB", SIZE, "red"), Image.new("RGB", SIZE, "blue")
GREY16 = Image.fromarray(np.repeat(np.array([[0, 32768]], np.uint16), 16, 1).repeat(24, 0))
DEEP = b"".join(b"\0" + struct.pack(">3H", 65535, 32768, 0) * 32 for _ in range(24))
CUT = JPEG[:-100]
NAMED = (b"cat/caf\xe9.jpg", b"cat/2.jpg", b"dog/1.jpg", b"dog/2.jpg")
TAGGED = (b"caf\xe9/1.jpg", b"dog/1.jpg", b"dog/2.jpg")
STAGE_NOTES = ("", "/identity.json", "/settings.yaml", "/log.txt", "/metrics.jsonl")
BEGUN = (
    "out",
    *(f"out/{file}" for file in ("settings.yaml", "run.json")),
    *(f"out/01-classify{file}" for file in STAGE_NOTES),
)
"""Notes of a stage that is not finished, which the next command enters."""
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n%%EndComments\nshowpage\n"
REPLACE = ("images/a.", "replace or remove the file")

DAMAGED = {
    "JPEG cut off": (CUT, ".jpg"),
    "JPEG cut off in its header": (JPEG[:30], ".jpg"),
    "zero bytes": (b"", ".jpg"),
    "text called .jpg": (b"no photo at all\n", ".jpg"),
    "web page called .png": (b"<!doctype html><title>404</title>", ".png"),
    "vector graphic called .png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', ".png"),
    "PostScript called .jpg": (POSTSCRIPT, ".jpg"),
    "PostScript in the header of a Windows file, called .png": (
        struct.pack("<7I2x", 0xC6D3D0C5, 30, len(POSTSCRIPT), 0, 0, 0, 0) + POSTSCRIPT,
        ".png",
    ),
    "TGA called .bmp": (encoded(RED, "TGA"), ".bmp"),
    "Photoshop file called .tif": (b"8BPS\0\1" + b"\0" * 99, ".tif"),
    "PNG cut off": (PNG[: len(PNG) // 2], ".png"),
    "PNG with a wrong checksum": (PNG[:60] + bytes([PNG[60] ^ 255]) + PNG[61:], ".png"),
    "GIF cut off": (encoded(RED, "GIF")[:20], ".gif"),
    "WebP cut off": (encoded(noise(24, 32), "WEBP")[:90], ".webp"),
    "TIFF cut off": (encoded(RED, "TIFF")[:200], ".tif"),
    "BMP cut off": (encoded(RED, "BMP")[:99], ".bmp"),
}

BOMB = png(60_000, 60_000, 8, 2, b"")
FLOATS = encoded(Image.fromarray(np.full((24, 32), np.nan, np.float32)), "TIFF")
GREY32 = encoded(Image.fromarray(np.full((24, 32), 70_000, np.int32)), "TIFF")

READ = {
    "PNG called .jpg": (encoded(RED, "PNG"), ".jpg", [(255, 0, 0)]),
    "JPEG called .PNG": (encoded(BLUE, "JPEG"), ".PNG", [(0, 0, 255)]),
    "two JPEGs in one file (MPO), first picture": (
        encoded(RED, "MPO", save_all=True, append_images=[BLUE]),
        ".jpg",
        [(255, 0, 0)],
    ),
    "CMYK JPEG": (
        encoded(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "JPEG"),
        ".jpg",
        [(255, 0, 0)],
    ),
    "16-bit grey": (encoded(GREY16, "PNG"), ".png", [(0, 0, 0), (128, 128, 128)]),
    "16-bit grey TIFF": (encoded(GREY16, "TIFF"), ".tif", [(0, 0, 0), (128, 128, 128)]),
    "16-bit colour": (png(32, 24, 16, 2, DEEP), ".png", [(255, 128, 0)]),
    "bilevel": (encoded(Image.new("1", SIZE, 1), "PNG"), ".png", [(255, 255, 255)]),
    "palette": (encoded(RED.convert("P"), "PNG"), ".png", [(255, 0, 0)]),
    "animated GIF, first frame": (
        encoded(RED, "GIF", save_all=True, append_images=[BLUE]),
        ".gif",
        [(255, 0, 0)],
    ),
    "animated WebP, first frame": (
        encoded(RED, "WEBP", save_all=True, append_images=[BLUE], lossless=True),
        ".webp",
        [(255, 0, 0)],
    ),
    "animated PNG, first frame": (
        encoded(RED, "PNG", save_all=True, append_images=[BLUE]),
        ".png",
        [(255, 0, 0)],
    ),
    "transparent, on white": (
        encoded(Image.new("RGBA", SIZE, (255, 0, 0, 0)), "PNG"),
        ".png",
        [(255, 255, 255)],
    ),
    "grey with alpha": (encoded(Image.new("LA", SIZE, (9, 255)), "PNG"), ".png", [(9, 9, 9)]),
    "bytes after the end": (encoded(RED, "JPEG") + b"\0" * 999, ".jpg", [(255, 0, 0)]),
    "damaged EXIF": (encoded(RED, "JPEG", exif=b"Exif\0\0II*\0\xff\xff"), ".jpg", [(255, 0, 0)]),
}


def turned(place: Place) -> Command:
    """Photo a lies on its side, and its EXIF says so; the mask is upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 32), "red").save(place.data / "images" / "a.jpg", exif=exif)
    return ["check", place.data]


def hundred_megapixels(place: Place) -> Command:
    """More than Pillow warns of, less than is refused."""
    row = b"\0" + b"\xff" * 1250
    content = png(10_000, 10_000, 1, 0, row * 10_000)
    command = instead(content, ".png")(place)
    (place.data / "masks" / "a.png").unlink()
    return command


def small_and_long(place: Place) -> Command:
    """A photo of one pixel, and one of 20,000 x 3; both have masks already in their folder."""
    for name, size in (("a", (1, 1)), ("b", (3, 20_000))):
        noise(*size).save(place.data / "images" / f"{name}.jpg")
        (place.data / "masks" / f"{name}.png").unlink()
    return ["check", place.data]


def sizes(place: Place) -> None:
    found = [image_size(s.image) for s in open_dataset(place.data, Data()).samples("train")]
    assert found[:2] == [(1, 1), (3, 20_000)]


def link_to_nowhere(place: Place) -> Command:
    (place.data / "images" / "a.jpg").unlink()
    (place.data / "images" / "a.jpg").symlink_to(place.folder / "gone.jpg")
    return ["check", place.data]


def folder_called_as_photo(place: Place) -> Command:
    (place.data / "images" / "a.jpg").unlink()
    (place.data / "images" / "a.jpg").mkdir()
    return ["check", place.data]


def pipe(place: Place) -> Command:
    """What blocks for ever whoever opens it."""
    (place.data / "images" / "a.jpg").unlink()
    os.mkfifo(place.data / "images" / "a.jpg")
    return ["check", place.data]


def line_break_in_name(place: Place) -> Command:
    (place.data / "images" / "a.jpg").unlink()
    (place.data / "images" / "a\nb.jpg").write_bytes(b"")
    rows = (place.data / "labels.csv").read_text()
    (place.data / "labels.csv").write_text(rows.replace("images/a.jpg", '"images/a\nb.jpg"'))
    return ["check", place.data]


def no_utf8(command: str, photos: tuple[bytes, ...], place: Place) -> Command:
    """As old archives unpack: the Latin-1 byte of an e with an accent."""
    for photo in photos:
        path = os.path.join(os.fsencode(place.folder / "tags"), photo)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(JPEG)
    if command == "check":
        return ["check", place.folder / "tags"]
    return ["run", SMOKE, place.folder / "tags", place.out, "--data.evaluate=[train]"]


def no_utf8_argument(place: Place) -> Command:
    os.mkdir(os.fsencode(place.folder) + b"/caf\xe9")
    return ["check", os.fsdecode(os.fsencode(place.folder) + b"/caf\xe9")]


def two_of_a_name(place: Place) -> Command:
    """Three things are wrong then; a run tells the first and how many more."""
    (place.data / "images" / "a.png").write_bytes(PNG)
    rows = (place.data / "labels.csv").read_text()
    (place.data / "labels.csv").write_text(rows.replace("images/a.jpg", "images/a"))
    return ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]"]


def not_listed(place: Place) -> Command:
    (place.data / "images" / "new.jpg").write_bytes(JPEG)
    return ["check", place.data]


def trained_on(content: bytes, *flags: str) -> Callable[[Place], Command]:
    """``esol run`` meets the damaged photo, whose header is whole, while it learns."""

    def make(place: Place) -> Command:
        (place.data / "images" / "a.jpg").write_bytes(content)
        return ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]", *flags]

    return make


def predicted(content: bytes, place: Place) -> Command:
    """``esol predict`` of a sound photo and a damaged one."""
    (place.folder / "new").mkdir()
    (place.folder / "new" / "a.jpg").write_bytes(content)
    (place.folder / "new" / "b.jpg").write_bytes(JPEG)
    return ["predict", place.finished, place.folder / "new", place.out]


def predicted_odd(place: Place) -> Command:
    (place.folder / "new").mkdir()
    Image.new("RGB", (1, 1), "red").save(place.folder / "new" / "dot.png")
    noise(3, 20_000).save(place.folder / "new" / "long line.png")
    noise(20_000, 3).save(place.folder / "new" / "Höhe.png")
    Image.new("CMYK", (40, 30)).save(place.folder / "new" / "cmyk.jpg")
    Image.new("L", (64, 64), 0).save(place.folder / "new" / "black.png")
    flags = ["--overlay", "--soft", "--crf", "on"]
    return ["predict", place.finished, place.folder / "new", place.out, *flags]


def predicted_sizes(place: Place) -> None:
    for photo in (place.folder / "new").iterdir():
        assert image_size(place.out / f"{photo.stem}.png") == image_size(photo)
    assert len([*place.out.rglob("*.npz")]) == 5


KINDS = (
    *(Kind(f"photo: {name}", instead(*made), REPLACE) for name, made in DAMAGED.items()),
    Kind(
        "photo: bomb of 3,600 megapixels",
        instead(BOMB, ".png"),
        ("a.png", "make the image smaller"),
    ),
    Kind("photo: floating-point, all NaN", instead(FLOATS, ".tif"), ("a.tif", "8 or 16 bits")),
    Kind("photo: 32-bit grey", instead(GREY32, ".tif"), ("a.tif", "8 or 16 bits")),
    *(
        Kind(f"photo: {name}", instead(content, suffix), then=shows(*colours))
        for name, (content, suffix, colours) in READ.items()
    ),
    Kind("photo: turned by EXIF", turned, then=shows((255, 0, 0))),
    Kind("photo: 100 megapixels", hundred_megapixels, then=lambda place: None),
    Kind("photo: 1 x 1 and 20,000 x 3", small_and_long, then=sizes),
    Kind("photo: link to nowhere", link_to_nowhere, ("a.jpg", "no such file")),
    Kind("photo: a folder of that name", folder_called_as_photo, ("images/a.jpg", "fix the path")),
    Kind("photo: a pipe", pipe, ("images/a.jpg", "replace or remove")),
    Kind("photo: line break in its name", line_break_in_name, (r"a\nb.jpg", "replace or remove")),
    Kind("photo: no UTF-8 in its name", partial(no_utf8, "check", NAMED), (r"caf\udce9", "rename")),
    Kind("tag: no UTF-8 in its name", partial(no_utf8, "run", TAGGED), (r"caf\udce9", "rename")),
    Kind("data folder: no UTF-8 in its name", no_utf8_argument, (r"caf\udce9", "rename")),
    Kind("photo: two of a name", two_of_a_name, ("labels.csv: line 2", "write the suffix")),
    Kind("photo: in no list", not_listed, ("new.jpg", "list it or move it away")),
    Kind("run: photo cut off", trained_on(CUT), REPLACE, leaves=BEGUN),
    Kind(
        "run: photo cut off, two loaders",
        trained_on(CUT, "--machine.workers=2"),
        REPLACE,
        leaves=BEGUN,
    ),
    Kind("run: photo of zero bytes", trained_on(b""), REPLACE),
    Kind(
        "predict: photo cut off",
        partial(predicted, CUT),
        ("new/a.jpg", "replace or remove"),
        leaves=("out", "out/b.png", "out/classes.json"),
    ),
    Kind(
        "predict: bomb",
        partial(predicted, BOMB),
        ("new/a.jpg", "make the image smaller"),
        leaves=("out", "out/b.png", "out/classes.json"),
    ),
    Kind("predict: one pixel, lines, black, CMYK", predicted_odd, then=predicted_sizes),
)
