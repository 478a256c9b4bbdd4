"""Fixtures that any test may use."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test processes share the cores: threads of each would only wait for one another. Before torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared material beside the repository; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no shared material at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _float32() -> Iterator[None]:
    """No processor computes bfloat16 natively: what tests compare is of float32, unless they say
    otherwise.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("esol.system.precision.computes_bfloat16", lambda: False)
        yield


def pytest_collection_finish() -> None:
    """Take what was collected, half a million objects, out of the garbage collections: every
    training asks for one.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let it be collected in the end: libraries complain of what is left."""
    gc.unfreeze()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos whose features are computed."""
    from esol.training import features

    names: list[str] = []
    real = features.load_image
    monkeypatch.setattr(
        features, "load_image", lambda path, size: names.append(path.stem) or real(path, size)
    )
    return names
