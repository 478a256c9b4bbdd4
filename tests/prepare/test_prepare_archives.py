"""Reading archives: nothing leads out, no link is followed, damage is one line."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import esol.prepare.archives
from esol.errors import InputError
from esol.prepare.archives import Archive, find, link_or_copy, require_room, store_all
from esol.system.files import TEMPORARY

FILES = {"top/a.txt": b"first", "top/deep/b.bin": os.urandom(300_000), "top/.hidden": b"x"}


def tarred(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> Archive:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tape:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tape.addfile(info, io.BytesIO(content))
        for info in others:
            tape.addfile(info)
    return Archive(path, "https://example.org/a")


def zipped(path: Path, files: dict[str, bytes], *others: zipfile.ZipInfo) -> Archive:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
        for info in others:
            packed.writestr(info, "/etc/passwd")
    return Archive(path, "https://example.org/a")


def made(kind: str, root: Path, files: dict[str, bytes]) -> Archive:
    if kind == "zip":
        return zipped(root / "a.zip", files)
    if kind != "folder":
        return tarred(root / f"a.{kind}", files)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Archive(root / "top", "https://example.org/a")


def link(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def read_all(archive: Archive) -> None:
    with archive.members() as members:
        for member in members:
            member.read()


def store(archive: Archive, out: Path) -> None:
    with archive.members() as members:
        for member in members:
            member.store(out / member.name.name)


def refused(archive: Archive, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_all(archive)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in (str(archive.path), archive.url, *words)), message


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip", "folder"])
def test_files_are_found_and_stored(kind: str, tmp_path: Path) -> None:
    archive = made(kind, tmp_path, FILES)
    out = tmp_path / "out"
    store(archive, out)
    with archive.members() as members:
        for member in members:
            assert member.size == len(FILES[str(member.name)])
            assert not member.missing(out / member.name.name)
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "b.bin"]
    assert (out / "a.txt").read_bytes() == b"first"
    assert (out / "b.bin").read_bytes() == FILES["top/deep/b.bin"]
    assert (out / "b.bin").stat().st_nlink == (2 if kind == "folder" else 1)


@pytest.mark.parametrize("name", ["../x", "top/../../x", "/etc/x", "top/.."])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_condemn_an_archive(kind: str, name: str, tmp_path: Path) -> None:
    refused(made(kind, tmp_path, {**FILES, name: b"out"}), "leads out", name)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{kind}"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, b"6"])
def test_links_and_devices_in_a_tar_are_not_read(kind: bytes, tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a.tar", FILES, link("top/odd", kind, "top/a.txt"))
    refused(archive, "top/odd", "link")
    with pytest.raises(InputError, match="link"):
        store(archive, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b.bin"]


def test_links_in_a_zip_are_not_read(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("top/odd")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    refused(zipped(tmp_path / "a.zip", FILES, info), "top/odd", "link")


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_truncated_archives_are_named(kind: str, share: float, tmp_path: Path) -> None:
    archive = made(kind, tmp_path, FILES)
    whole = archive.path.read_bytes()
    archive.path.write_bytes(whole[: int(len(whole) * share)])
    refused(archive, "damaged")


@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_changed_bytes_are_noticed(kind: str, tmp_path: Path) -> None:
    archive = made(kind, tmp_path, FILES)
    content = bytearray(archive.path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.path.write_bytes(content)
    refused(archive, "damaged")


def test_a_web_page_is_no_archive(tmp_path: Path) -> None:
    for name in ("a.tar", "a.tgz", "a.zip"):
        (tmp_path / name).write_text("<html>not found</html>")
        refused(Archive(tmp_path / name, "https://example.org/a"), "damaged")


def test_a_cut_file_is_not_left_behind(tmp_path: Path) -> None:
    archive = made("tar", tmp_path, FILES)
    archive.path.write_bytes(archive.path.read_bytes()[:200_000])
    with pytest.raises(InputError, match="damaged"):
        store(archive, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]


def test_only_what_is_missing_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = made("zip", tmp_path, {"a": b"aa", "b": b"bb", "c": b"cc"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"AA")
    (tmp_path / "out" / "b").write_bytes(b"")
    asked = []
    monkeypatch.setattr(esol.prepare.archives, "require_room", lambda _, n: asked.append(n))
    with archive.members() as members:
        store_all([(m, tmp_path / "out" / m.name.name) for m in members], tmp_path / "out", "x")
    assert [(tmp_path / "out" / n).read_bytes() for n in "abc"] == [b"AA", b"bb", b"cc"]
    assert asked == [4]


def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        esol.prepare.archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000_000)
    )
    require_room(tmp_path, 2_000_000_000)
    with pytest.raises(InputError, match=r"2\.5 GB needed, 2\.0 GB free"):
        require_room(tmp_path, 2_500_000_000)
    (tmp_path / "a").write_bytes(b"abc")
    archive = Archive(tmp_path, "https://example.org/a")
    with archive.members() as members:
        assert next(members).needs(tmp_path) == 0


def test_copies_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(1, "Operation not permitted")

    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    link_or_copy(tmp_path / "link", tmp_path / "b")
    assert (tmp_path / "b").stat().st_ino == (tmp_path / "a").stat().st_ino
    assert not (tmp_path / "b").is_symlink()
    monkeypatch.setattr(esol.prepare.archives.os, "link", no_links)
    link_or_copy(tmp_path / "link", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"abc"
    assert (tmp_path / "c").stat().st_ino != (tmp_path / "a").stat().st_ino


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(esol.prepare.archives.shutil, "copyfileobj", full)
    archive = made("zip", tmp_path, FILES)
    with pytest.raises(InputError, match=r"out/a.txt: .*No space left"):
        store(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    assert TEMPORARY not in str(list(tmp_path.rglob("*")))


def test_folders_that_link_to_themselves_end(tmp_path: Path) -> None:
    archive = made("folder", tmp_path, FILES)
    (tmp_path / "top" / "deep" / "up").symlink_to(tmp_path / "top")
    with archive.members() as members:
        assert 2 <= len(list(members)) < 20


def test_the_first_place_counts(tmp_path: Path) -> None:
    places = {"a.zip": "one", "a": "two"}
    assert find(tmp_path, places) is None
    (tmp_path / "a").mkdir()
    assert find(tmp_path, places) == Archive(tmp_path / "a", "two")
    (tmp_path / "a.zip").mkdir()
    assert find(tmp_path, places) == Archive(tmp_path / "a", "two")
    (tmp_path / "a.zip").rmdir()
    (tmp_path / "a.zip").touch()
    assert find(tmp_path, places) == Archive(tmp_path / "a.zip", "one")
