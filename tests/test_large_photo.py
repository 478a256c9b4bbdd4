"""Memory of a prediction on a photo of 100 megapixels: ``pytest -n 0 -m slow`` runs it."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from esol.data.images import image_size
from esol.data.synthetic import write_synthetic
from esol.settings.load import load_settings
from esol.stages import run

SMOKE = Path(__file__).parent / "smoke.yaml"
SIDE = 10_000
CEILING_MB = 2000
"""Python, PyTorch and its libraries take half of it; a decoded photo is 400 MB (four bytes a
pixel), and there are two of it while it becomes RGB."""

SCRIPT = """
import sys
from esol.__main__ import main
code = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A trained run, and four photos of 100 megapixels, one of them turned by its EXIF entry."""
    root = tmp_path_factory.mktemp("large")
    write_synthetic(root / "data", photos=12, size=64, seed=0, val_fraction=0.25, hard=True)
    flags = ["--refine.methods=[]", "--masks.source=seeds"]
    run(load_settings(str(SMOKE), *flags), root / "data", root / "run")
    small = Image.open(root / "data/images/00000.jpg")
    large = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    upright, turned = Image.Exif(), Image.Exif()
    turned[0x0112] = 6
    names = {"one": upright, "two": upright, "three": upright, "turned": turned}
    for name, exif in names.items():
        large.save(root / f"{name}.jpg", quality=90, exif=exif)
    return root


def under_ceiling() -> None:
    """In the child: memory beyond the ceiling is refused by the system."""
    resource.setrlimit(resource.RLIMIT_DATA, (CEILING_MB * 10**6,) * 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["one"], ["one", "--overlay", "--soft"], ["turned"], ["one", "two", "three"]],
    ids=" ".join,
)
def test_predict_stays_under_the_ceiling(folder, tmp_path, arguments):
    photos = [name for name in arguments if not name.startswith("--")]
    flags = [name for name in arguments if name.startswith("--")]
    images = [folder / f"{name}.jpg" for name in photos]
    given = ["predict", folder / "run", *images, tmp_path, *flags]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, given)],
        capture_output=True,
        text=True,
        preexec_fn=under_ceiling,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    for name in photos:
        assert image_size(tmp_path / f"{name}.png") == (SIDE, SIDE)
    peak = int(done.stdout.splitlines()[-1]) * 1024 / 1e6
    print(f"{' '.join(arguments)}: peak {peak:.0f} MB")
    assert peak < CEILING_MB
