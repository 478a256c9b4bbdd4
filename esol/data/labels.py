"""The text of labels.csv, for what writes one."""

import csv
import io
from collections.abc import Iterable, Sequence

from esol.errors import InputError

Line = tuple[str, Sequence[str], str]
"""Path of a photo below the data folder, its tags, and the list that it is in."""


def labels_text(rows: Iterable[Line], *, lists: bool) -> str:
    """Content of labels.csv, which ``read_labels`` reads as these rows.

    Args:
        rows: a line each. Every tag is followed by a semicolon, so that it may have spaces.
        lists: whether to write the column of lists; without it all photos are in "train".

    Raises:
        InputError: a tag would be taken for two.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("image", "labels", "split")[: 3 if lists else 2])
    for image, tags, split in rows:
        for tag in tags:
            if found := set(tag) & set(",;|"):
                wrong = f"labels.csv has no {min(found)!r} in tags"
                raise InputError(f"class {tag!r}: {wrong}: rename the class")
        row = (image, "".join(f"{tag};" for tag in tags), split)
        table.writerow(row[: 3 if lists else 2])
    return text.getvalue()
