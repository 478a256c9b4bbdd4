"""Writes Parquet and Arrow files with photos, for tests."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def photo(seed: int, kind: str = "PNG") -> bytes:
    """An image file of 6 x 4 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def photos(number: int, *, first: int = 0, paths: Sequence[str | None] = ()) -> pa.Array:
    """A column of photos; their paths, or none."""
    named = [*paths, *[None] * number][:number]
    cells = [{"bytes": photo(first + n), "path": path} for n, path in enumerate(named)]
    return pa.array(cells, STRUCT)


def table(columns: Mapping[str, Any], **features: Any) -> pa.Table:
    """A table as the library ``datasets`` describes it, if there are features."""
    made = pa.table(dict(columns))
    info = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": info}) if features else made


def class_label(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def write_parquet(path: Path, content: pa.Table, rows: int = 2) -> Path:
    """A file with so many rows to a group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(content, path, row_group_size=rows)
    return path


def write_saved(folder: Path, content: pa.Table, rows: int = 2) -> Path:
    """A folder as ``Dataset.save_to_disk`` makes it, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    half = (len(content) + 1) // 2
    names = [f"data-{part:05}-of-00002.arrow" for part in range(2)]
    for name, part in zip(names, (content.slice(0, half), content.slice(half)), strict=True):
        with pa.ipc.new_stream(str(folder / name), content.schema) as stream:
            stream.write_table(part, max_chunksize=rows)
    files = [{"filename": name} for name in names]
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_split": None}))
    (folder / "dataset_info.json").write_text("{}")
    return folder
