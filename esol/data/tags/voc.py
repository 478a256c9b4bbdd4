"""A folder of PASCAL VOC's XML files, also boxes only: tags are the names of objects."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row, folder_of, list_of
from esol.settings import Data
from esol.system.read import entry, read_xml, structured

TITLE = "VOC annotations"
FILE = "a folder of `.xml` files, each named after its photo"
TAGS = "names of the objects; boxes are enough; `--data.difficult false` drops difficult ones"
UNTAGGED = (
    "negative if the XML file has no object; left out if `--data.difficult false` drops all it has"
)
ANYWHERE = True


def recognise(path: Path, content: Any) -> bool:
    """Whether it is a folder whose first XML file is an annotation."""
    if not path.is_dir():
        return False
    first = min(path.glob("*.xml"), default=None)
    root = None if first is None else structured(first)
    return root is not None and root.tag == "annotation"


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row for each file, which is named like its photo; an InputError if one is damaged."""
    folder = folder_of(path, root)
    for file in sorted(path.rglob("*.xml")):
        tree = read_xml(file)
        with entry(str(file)):
            objects = list(tree.iter("object"))
            tags = {
                (thing.findtext("name") or "").strip()
                for thing in objects
                if settings.difficult or (thing.findtext("difficult") or "0").strip() != "1"
            }
            photo = PurePosixPath(file.relative_to(path).with_suffix("").as_posix())
        # A photo of difficult objects alone is not one of background.
        finished = not objects or bool(tags)
        split = list_of(folder / photo)
        named = None if split == "train" else split
        yield Row(file, "object", photo, tuple(sorted(tags - {""})), named, finished)
