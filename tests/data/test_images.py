"""Every kind of image file loads correctly or is refused in one line."""

import struct
import warnings
import zlib
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from esol.data.images import image_size, load_image, load_mask, palette, save_mask
from esol.data.kinds import (
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    passed_over,
    unread_advice,
    unread_content,
)
from esol.data.transforms import squash
from esol.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def loaded(path: Path) -> np.ndarray:
    image = load_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def refused(path: Path, *words: str) -> None:
    """The file is refused in one line that names it."""
    with pytest.raises(InputError) as caught:
        load_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    smooth = np.zeros((24, 40, 3), dtype=np.uint8)
    smooth[:12, :20], smooth[:12, 20:], smooth[12:, :20] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # What the camera stores, for the upright photo to be `smooth` (EXIF standard, tag 0x0112).
    stored = {
        1: smooth,
        2: smooth[:, ::-1],
        3: smooth[::-1, ::-1],
        4: smooth[::-1],
        5: smooth.transpose(1, 0, 2),
        6: np.rot90(smooth),
        7: np.rot90(smooth, 2).transpose(1, 0, 2),
        8: np.rot90(smooth, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(
        suffix, {}
    )
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    assert image_size(path) == (24, 40)
    assert np.abs(loaded(path).astype(int) - smooth).mean() < 4
    load_image(path).save(tmp_path / "again.png")
    assert np.abs(loaded(tmp_path / "again.png").astype(int) - smooth).mean() < 4


def photograph(width: int, height: int) -> Image.Image:
    """Smooth colours with noise, as a camera's."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    noisy = smooth + rng.normal(0, 8, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((101, 75), (600, 450)),  # less than six times 101
        ((100, 75), (300, 225)),
        ((75, 100), (600, 450)),
        ((20, 20), (300, 225)),  # 450 is not a multiple of four
        ((2000, 1500), (600, 450)),
    ],
)
def test_a_large_jpeg_is_decoded_at_three_times_its_new_size_or_more(
    tmp_path: Path, size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    path = tmp_path / "large.jpg"
    photograph(600, 450).save(path, quality=90)
    found = load_image(path, size)
    assert found.size == decoded
    whole = load_image(path)
    if decoded == whole.size:
        assert found.tobytes() == whole.tobytes()
    small, expected = (
        np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.int64)
        for image in (found, whole)
    )
    assert np.abs(small - expected).mean() < 1


def test_the_new_size_is_the_upright_photos(tmp_path: Path) -> None:
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6
    photograph(600, 120).save(path, quality=90, exif=exif)
    assert load_image(path).size == (120, 600)
    assert load_image(path, (20, 100)).size == (60, 300)
    assert load_image(path, (10, 40)).size == (30, 150)
    assert load_image(path, (5, 25)).size == (15, 75)
    assert load_image(path, (100, 20)).size == (120, 600)


def test_other_formats_are_decoded_whole(tmp_path: Path) -> None:
    photograph(60, 40).save(tmp_path / "large.png")
    assert load_image(tmp_path / "large.png", (6, 4)).size == (60, 40)


def test_nothing_moves_for_photos_of_usual_sizes(shared: Path) -> None:
    folder = shared / "data" / "voc-animals" / "JPEGImages"
    for path in sorted(folder.iterdir())[::300]:
        whole = load_image(path)
        for side in (96, 256, 320, 512):
            assert load_image(path, (side, side)).tobytes() == whole.tobytes()
            plain = whole.resize((side, side), Image.Resampling.BICUBIC)
            assert squash(whole, side).tobytes() == plain.tobytes()


def test_grey(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    assert (loaded(tmp_path / "grey.png") == PIXELS[..., :1]).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_range(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 128 * 257, 65535, 40000]], dtype=np.uint16)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(values).save(path)
    assert loaded(path)[0, :, 0].tolist() == [0, 1, 128, 255, round(40000 / 257)]


def test_32_bit_grey_scales_as_16_bit_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    Image.fromarray(np.array([[0, 65535]], dtype=np.int32)).save(path)
    assert loaded(path)[0, :, 0].tolist() == [0, 255]
    Image.fromarray(np.array([[0, 65536]], dtype=np.int32)).save(path)
    refused(path, "65535")
    Image.fromarray(np.array([[0, 0.5]], dtype=np.float32)).save(path)
    refused(path, "floating")


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = (0, 255, 128)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    assert np.abs(loaded(tmp_path / "alpha.png")[0, :, 0].astype(int) - [255, 0, 127]).max() <= 1
    Image.fromarray(rgba[..., [0, 3]], mode="LA").save(tmp_path / "grey-alpha.png")
    assert (
        np.abs(loaded(tmp_path / "grey-alpha.png")[0, :, 0].astype(int) - [255, 0, 127]).max() <= 1
    )
    indexed = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    indexed.save(tmp_path / "palette.png", transparency=0)
    assert loaded(tmp_path / "palette.png")[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)).save(
        tmp_path / "key.png", transparency=(1, 2, 3)
    )
    assert loaded(tmp_path / "key.png")[0].tolist() == [[255, 255, 255], [4, 5, 6]]


def test_palette_and_bilevel(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    indexed.save(tmp_path / "palette.png")
    assert loaded(tmp_path / "palette.png")[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert loaded(tmp_path / "bits.png")[0, :, 0].tolist() == [255, 0]


def test_cmyk(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 4), dtype=np.uint8)
    red[..., 1:3] = 255
    Image.fromarray(red, mode="CMYK").save(tmp_path / "print.jpg", quality=100)
    assert np.abs(loaded(tmp_path / "print.jpg").astype(int) - [255, 0, 0]).max() < 8


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    assert loaded(tmp_path / "moves.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "gif", "bmp"])
def test_truncated_is_refused_but_its_size_is_known(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    assert image_size(path) == (64, 48)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "replace or remove")


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    for name, content, word in (
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"hello", "not an image"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, word)
    refused(tmp_path / "absent.jpg", "no such file")
    refused(tmp_path, "folder")


def bomb(path: Path, width: int, height: int) -> None:
    """A PNG file of a few bytes whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    bomb(path, 20_000, 20_000)
    refused(path, "megapixels")
    # A host program may have lifted Pillow's own limit.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    refused(path, "megapixels")
    with pytest.raises(InputError, match="megapixels"):
        image_size(path)


def test_pillows_warning_at_half_the_limit_is_no_fault_of_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    bomb(path, 10_000, 10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(path) == (10_000, 10_000)


def test_a_photo_too_large_for_the_memory_is_not_called_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path)

    def exhausted(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", exhausted)
    refused(path, "not enough memory", "smaller")


def voc_colour(value: int) -> list[int]:
    """The rule of the VOC development kit, bit by bit."""
    colour = [0, 0, 0]
    for step in range(8):
        for channel in range(3):
            colour[channel] |= (value >> channel & 1) << (7 - step)
        value >>= 3
    return colour


def test_palette_follows_the_bit_rule() -> None:
    assert palette().tolist() == [voc_colour(value) for value in range(256)]
    assert palette()[[1, 15, 255]].tolist() == [[128, 0, 0], [192, 128, 128], [224, 224, 192]]


def test_masks_survive_a_round_trip(tmp_path: Path) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path = tmp_path / "deep" / "mask.png"
    save_mask(mask, path)
    assert (load_mask(path) == mask).all()
    assert [file.name for file in path.parent.iterdir()] == ["mask.png"]
    with Image.open(path) as image:
        assert image.mode == "P"
        assert (np.asarray(image.convert("RGB")) == palette()[mask]).all()
    for wrong in (mask.astype(np.int64), mask[None]):
        with pytest.raises(ValueError, match="uint8"):
            save_mask(wrong, path)


def test_masks_of_any_depth_load_and_colour_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 3, 255]], dtype=np.uint16)).save(path)
    assert load_mask(path).tolist() == [[0, 3, 255]]
    Image.fromarray(np.array([[0, 300]], dtype=np.uint16)).save(path)
    with pytest.raises(InputError, match="300"):
        load_mask(path)
    Image.fromarray(np.array([[True, False]])).save(path)
    assert load_mask(path).tolist() == [[1, 0]]
    Image.fromarray(PIXELS).save(path)
    with pytest.raises(InputError, match="palette or grey"):
        load_mask(path)


def test_kinds_of_phones_and_browsers(tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 30), (200, 30, 30))
    photo.save(tmp_path / "a.jfif", format="JPEG")
    assert ".jfif" in IMAGE_SUFFIXES
    assert load_image(tmp_path / "a.jfif").size == (40, 30)
    if ".avif" not in IMAGE_SUFFIXES:
        assert ".avif" in UNREAD_SUFFIXES
        pytest.skip("this Pillow reads no AVIF")
    photo.save(tmp_path / "a.avif")
    assert load_image(tmp_path / "a.avif").size == (40, 30)


def test_heic_with_its_extra(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    assert {".heic", ".heif"} <= IMAGE_SUFFIXES
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:15] = 255
    exif = Image.Exif()
    # The container says how a photo is turned, and the library turns it: EXIF must not again.
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.HEIC", format="HEIF", exif=exif, quality=100)
    upright = np.asarray(load_image(tmp_path / "a.HEIC"))
    assert upright.shape == (30, 40, 3)
    assert upright[:10].mean() > 195
    assert upright[20:].mean() < 60
    assert image_size(tmp_path / "a.HEIC") == (30, 40)


def test_what_is_not_read_names_what_it_takes() -> None:
    files = [PurePath(name) for name in ("a.MOV", "b.mov", "c.txt", "d.jpg", "e")]
    expected = "2 files are not read as photos (2 .mov): save as JPEG or PNG"
    assert passed_over(files) == (expected,)
    assert passed_over([PurePath("a.nef")]) == (
        "1 file is not read as a photo (1 .nef): save as JPEG or PNG",
    )
    assert passed_over(files[2:]) == ()
    assert unread_advice((".heic",)).endswith('or for .heic: pip install "esol[heic]"')


@pytest.mark.parametrize("read", [load_image, image_size])
def test_a_photo_called_as_another_kind_names_what_it_takes(tmp_path: Path, read) -> None:
    path = tmp_path / "IMG_0001.JPG"
    path.write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(40))
    if ".heic" in IMAGE_SUFFIXES:
        pytest.skip("HEIC is read here")
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: .heic inside, whatever its name: save as JPEG or PNG, or for .heic: pip install"
        ' "esol[heic]"'
    )


def test_other_containers_are_no_photos() -> None:
    assert unread_content(b"\0\0\0\x24ftypisom\0\0\0\0") == ""
    assert unread_content(b"ftypheic") == ""
    assert unread_content(b"") == ""


def test_jpe_is_a_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.JPE", format="JPEG")
    assert ".jpe" in IMAGE_SUFFIXES - UNREAD_SUFFIXES
    assert load_image(tmp_path / "a.JPE").size == (40, 30)
