"""Photos inside Parquet and Arrow files: found again one by one, by threads and processes."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")

from packed_sets import STRUCT, photo, photos, table, write_parquet, write_saved  # noqa: E402

from esol.data import open_dataset, packed  # noqa: E402
from esol.data.images import image_size, load_image, open_photo, save_mask  # noqa: E402
from esol.errors import InputError  # noqa: E402
from esol.settings import Data  # noqa: E402


@pytest.fixture(params=["parquet", "arrow"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Seven photos in row groups of two."""
    content = table({"n": range(7), "image": photos(7)})
    if request.param == "parquet":
        return write_parquet(tmp_path / "a.parquet", content)
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), content.schema) as stream:
        stream.write_table(content, max_chunksize=2)
    return tmp_path / "a.arrow"


def test_each_photo_is_that_of_its_row(file: Path) -> None:
    for row in (0, 6, 3, 1, 5, 2, 4, 0):
        path = file / "image" / str(row)
        assert packed.content(path) == photo(row)
        assert load_image(path).tobytes() == open_photo(photo(row)).tobytes()
        assert load_image(str(path)).size == (6, 4)
        assert image_size(path) == (4, 6)


def test_columns_of_bytes_alone(tmp_path: Path) -> None:
    cells = [photo(0), None, photo(2)]
    for kind in (pa.binary(), pa.large_binary()):
        file = write_parquet(tmp_path / "b.parquet", pa.table({"img": pa.array(cells, kind)}))
        assert packed.content(file / "img" / "2") == photo(2)
        with pytest.raises(InputError, match="img/1: no photo in this row: remove the row"):
            load_image(file / "img" / "1")


def test_a_photo_that_is_null_in_whole_or_in_part(tmp_path: Path) -> None:
    cells = pa.array([None, {"bytes": None, "path": "a.jpg"}, {"bytes": b"", "path": ""}], STRUCT)
    for file in (
        write_parquet(tmp_path / "a.parquet", table({"image": cells})),
        write_saved(tmp_path, table({"image": cells})) / "data-00000-of-00002.arrow",
    ):
        for row in (0, 1):
            with pytest.raises(InputError, match=f"image/{row}: no photo in this row"):
                load_image(file / "image" / str(row))
    with pytest.raises(InputError, match=r"a\.parquet/image/2: empty file"):
        load_image(tmp_path / "a.parquet" / "image" / "2")


@pytest.mark.parametrize("end", ["image/7", "image/-1", "image/x", "other/0", "n/0"])
def test_what_is_not_there(file: Path, end: str) -> None:
    with pytest.raises(InputError, match=f"{file.name}"):
        load_image(file / end)


def test_ordinary_files_whatever_their_folders_are_called(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet" / "image" / "0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(photo(1))
    assert packed.holder(path) is None
    assert packed.opened(path) == path
    assert packed.content(path) == photo(1)
    assert packed.stat(path) == path.stat()
    assert load_image(path).size == (6, 4)
    with pytest.raises(InputError, match="no such file"):
        load_image(tmp_path / "gone.parquet" / "image" / "0")


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", table({"image": photos(3)}))
    before = packed.stat(file / "image" / "0")
    assert packed.content(file / "image" / "0") == photo(0)
    write_parquet(file, table({"image": photos(4, first=5)}))
    after = packed.stat(file / "image" / "0")
    assert (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    assert packed.content(file / "image" / "0") == photo(5)


def test_what_is_kept_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_groups", groups := packed._Groups())
    one = packed.open_packed(file).group(0, "image").nbytes
    monkeypatch.setattr(packed, "_KEPT", 2 * one + one // 2)
    for row in (0, 1, 2, 3, 4, 5, 6, 0, 6, 1):
        assert packed.content(file / "image" / str(row)) == photo(row)
        assert groups.bytes == sum(group.nbytes for group in groups.kept.values())
        assert groups.bytes <= packed._KEPT
    # Of groups 0, 1, 2, 3, 0, 3, 0, in this order, 1 was used longest ago.
    assert {number for _, _, number in groups.kept} in ({0, 3}, {0, 2, 3})
    monkeypatch.setattr(packed, "_KEPT", 0)
    assert packed.content(file / "image" / "3") == photo(3)
    assert {number for _, _, number in groups.kept} == {1}


def test_threads_read_a_group_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_groups", packed._Groups())
    read, group = [], packed.Packed.group
    monkeypatch.setattr(packed.Packed, "group", lambda *of: read.append(of[1:]) or group(*of))
    with ThreadPoolExecutor(8) as pool:
        rows = [*range(7)] * 5
        assert [*pool.map(lambda row: packed.content(file / "image" / str(row)), rows)] == [
            photo(row) for row in rows
        ]
    assert sorted(read) == [(number, "image") for number in range(4)]


def test_a_forked_process_waits_for_no_thread_of_its_parent(file: Path) -> None:
    assert packed.content(file / "image" / "0") == photo(0)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with packed._groups.lock:
            locked.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(packed.content(file / "image" / "1") != photo(1))
    try:
        assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()


def test_large_groups_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "a.parquet", table({"image": photos(3)}))
    monkeypatch.setattr(packed, "GROUP_LIMIT", 100)
    with pytest.raises(InputError, match=r"a\.parquet: row group 0 has .* GiB of photos, of which"):
        load_image(file / "image" / "1")


def test_damage_is_one_line(file: Path) -> None:
    content = file.read_bytes()
    for damaged in (b"", b"PAR1", content[: len(content) // 2], b"x" * len(content)):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged, or not a") as caught:
            load_image(file / "image" / "0")
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(file))


def test_changed_bytes_never_get_through_as_another_error(file: Path) -> None:
    content = bytearray(file.read_bytes())
    refused = 0
    for place in range(0, len(content), 41):
        content[place] ^= 255
        file.write_bytes(content)
        for row in (0, 6):
            try:
                load_image(file / "image" / str(row))
            except InputError:
                refused += 1
        content[place] ^= 255
    assert refused


def test_without_pyarrow_the_message_says_what_to_install(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed._open.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = r'a\.\w+: to read it, pip install "esol\[parquet\]"'
    with pytest.raises(InputError, match=message):
        load_image(file / "image" / "0")
    if file.suffix == ".parquet":
        with pytest.raises(InputError, match=message):
            open_dataset(file.parent, Data())
        # They alone would be taken for photos of a tag.
        save_mask(np.ones((4, 6), np.uint8), file.parent / "masks" / "000000.png")
        with pytest.raises(InputError, match=message):
            open_dataset(file.parent, Data())
