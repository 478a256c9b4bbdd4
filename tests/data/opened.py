"""What the tests of all data layouts ask of an opened data set."""

from pathlib import Path

import pytest

from esol.data import open_dataset
from esol.data.sample import Dataset
from esol.errors import InputError
from esol.settings import Data


def tags(data: Dataset, split: str = "train") -> dict[str, tuple[str, ...]]:
    """Photo -> names of its tags."""
    return {s.name: tuple(data.classes[k] for k in s.tags) for s in data.splits[split]}


def refused(root: Path, *words: str, settings: Data | None = None) -> None:
    """Opening is refused in one line with these words."""
    with pytest.raises(InputError) as caught:
        open_dataset(root, settings or Data())
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
