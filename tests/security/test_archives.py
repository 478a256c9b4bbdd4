"""Archives and tables that would burst memory or disk, or say something else than they hold."""

import io
import struct
import tarfile
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

import esol.label_tools.sources
import esol.prepare.archives
from esol.data.voc import read_voc
from esol.errors import InputError
from esol.label_tools.sources import unpacked
from esol.prepare.archives import Archive
from esol.settings import Data
from esol.system.read import read_xml


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        unpacked(path).__enter__()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are unpacked."""
    place = tmp_path / "unpacked"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_a_bomb_is_refused_by_what_it_says(place, tmp_path, monkeypatch):
    monkeypatch.setattr(esol.label_tools.sources, "UNPACKED_LIMIT", 1 << 20)
    files = {f"{n}.png": bytes(300_000) for n in range(4)}
    path = packed(tmp_path / "bomb.zip", files)
    assert path.stat().st_size < 5000
    refused(path, "GiB unpacked")
    assert list(place.iterdir()) == []


def test_a_bomb_that_lies_of_its_size_is_cut_at_that(place, tmp_path):
    path = packed(tmp_path / "bomb.zip", {"a.png": bytes(5_000_000)})
    content = path.read_bytes()
    true = struct.pack("<L", 5_000_000)
    assert content.count(true) == 2
    path.write_bytes(content.replace(true, struct.pack("<L", 10)))
    written: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        # What had been written is removed with its folder.
        cleanup = tempfile.TemporaryDirectory.cleanup

        def look(self: "tempfile.TemporaryDirectory[str]") -> None:
            written.extend(file.stat().st_size for file in place.rglob("*.png"))
            cleanup(self)

        patch.setattr(tempfile.TemporaryDirectory, "cleanup", look)
        refused(path, "not a whole ZIP file")
    assert max(written, default=0) <= 10
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["../a", "/a", "x/../../a", "..\\a", "C:\\a", "C:/a"])
def test_names_that_lead_out_condemn_an_archive(name, place, tmp_path):
    refused(packed(tmp_path / "a.zip", {"b.png": b"", name: b"x"}), "leads out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "unpacked"]


def test_a_link_in_an_archive_becomes_no_link(place, tmp_path):
    info = zipfile.ZipInfo("SegmentationClass")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, str(tmp_path / "elsewhere"))
        archive.writestr("a.png", b"x")
    with unpacked(tmp_path / "a.zip") as folder:
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        assert (folder / "SegmentationClass").read_text() == str(tmp_path / "elsewhere")


def test_a_file_through_a_link_in_an_archive_stays_inside(place, tmp_path):
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, str(tmp_path))
        archive.writestr("a/owned.png", b"x")
    refused(tmp_path / "a.zip", "not a whole ZIP file")
    assert not (tmp_path / "owned.png").exists()


@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_no_file_of_a_data_set_is_read_into_memory_beyond_a_limit(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(esol.prepare.archives, "READ_LIMIT", 1000)
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        packed(path, {"top/list.txt": bytes(1001)})
    else:
        with tarfile.open(path, "w:gz") as tape:
            info = tarfile.TarInfo("top/list.txt")
            info.size = 1001
            tape.addfile(info, io.BytesIO(bytes(1001)))
    with Archive(path, "https://example.org").members() as members:
        member = next(members)
        with pytest.raises(InputError, match=r"list\.txt has .* far too many"):
            member.read()


LAUGHS = """<?xml version="1.0" encoding="{}"?>
<!DOCTYPE annotation [<!ENTITY a "ha">{}]>
<annotation><object><name>&{};</name></object></annotation>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_xml_that_grows_is_refused(encoding, tmp_path):
    """In UTF-16 the declaration was not seen."""
    entities = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghi"))
    declared = "utf-16" if "16" in encoding else encoding
    text = LAUGHS.format(declared, entities, "i")
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"a\.xml: declares XML entities"):
        read_xml(tmp_path / "a.xml")


def test_xml_reads_no_other_files(tmp_path):
    (tmp_path / "secret").write_text("secret")
    text = '<!DOCTYPE a [<!ENTITY b SYSTEM "secret">]><a>&b;</a>'
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match="declares XML entities"):
        read_xml(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_text('<!DOCTYPE a SYSTEM "secret"><a>x</a>')
    assert read_xml(tmp_path / "a.xml").text == "x"


def test_the_annotations_of_voc_are_read_with_the_same_care(tmp_path):
    """They were read without."""
    for name, text in (("JPEGImages/a.jpg", ""), ("ImageSets/Segmentation/train.txt", "a\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(LAUGHS.format("utf-8", "", "a"))
    (problem,) = read_voc(tmp_path, Data()).problems
    assert "declares XML entities" in problem
