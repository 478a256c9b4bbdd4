"""Only Pillow's readers of the formats in docs/data.md see a file; no program is started."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from esol.data.images import image_size, load_image, load_mask
from esol.data.kinds import FORMATS
from esol.data.saliency import load_saliency
from esol.errors import InputError

READERS = {
    "load_image": load_image,
    "image_size": image_size,
    "load_mask": load_mask,
    "load_saliency": lambda path: load_saliency(path, (20, 20)),
}

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"


@pytest.fixture
def postscript(tmp_path: Path) -> Path:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(POSTSCRIPT)
    return path


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists as soon as somebody starts Ghostscript."""
    programs, log = tmp_path / "bin", tmp_path / "started"
    programs.mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        (programs / name).write_text(f"#!/bin/sh\necho started > '{log}'\n")
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return log


@pytest.mark.parametrize("reader", READERS)
def test_postscript_called_jpg_starts_no_program(reader, postscript, started):
    with pytest.raises(InputError, match=r"holiday\.jpg: not an image of a known format"):
        READERS[reader](postscript)
    assert not started.exists()


def test_pillow_alone_would_start_it(postscript, started):
    # Not a picture comes of it, because the program is ours.
    with suppress(OSError), Image.open(postscript) as image:
        image.load()
    assert started.exists()


@pytest.mark.parametrize("reader", READERS)
def test_no_other_reader_of_pillow_sees_a_file(reader, postscript, monkeypatch):
    Image.init()
    seen = []

    def spy(name):
        def accept(prefix):
            seen.append(name)
            return False

        return accept

    for name in Image.OPEN:
        monkeypatch.setitem(Image.OPEN, name, (Image.OPEN[name][0], spy(name)))
    with pytest.raises(InputError):
        READERS[reader](postscript)
    assert set(seen) == set(FORMATS)
    assert len(Image.OPEN) > 30
