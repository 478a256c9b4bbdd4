"""The run that other kinds spoil, itself made from photos of odd kinds."""

from pathlib import Path

import numpy as np
from PIL import Image

from corpus import noise, sound
from esol.cli.main import main

SMOKE = Path(__file__).parent.parent / "smoke.yaml"


def odd_run(root: Path) -> Path:
    """All stages on a sound data set with photos that are black, of one pixel, 20,000 x 3, CMYK,
    16-bit and of odd names.
    """
    data = sound(root / "data")
    odd = {
        "black.png": Image.new("RGB", (40, 30)),
        "dot.png": Image.new("RGB", (1, 1), "red"),
        "long line.png": noise(3, 20_000),
        "Käfer [1].jpg": Image.new("CMYK", (40, 30), (9, 99, 0, 0)),
        "grey.png": Image.fromarray(np.full((30, 40), 40_000, np.uint16)),
    }
    with (data / "labels.csv").open("a") as table:
        for name, image in odd.items():
            image.save(data / "images" / name)
            table.write(f"images/{name},cat dog\n")
    command = ["run", SMOKE, data, root / "run", "--data.evaluate=[train]"]
    assert main([*map(str, command), "--classify.fit.lr=3e-4"]) == 0
    return root / "run"
