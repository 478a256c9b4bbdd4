"""Every message quoted in docs/troubleshooting.md is what the program says today."""

import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import esol.networks.backbone
import esol.stages.classify
from esol.cli.main import main
from esol.data.batch import Batch, Losses
from esol.data.images import load_mask, save_mask
from esol.data.synthetic import write_synthetic
from esol.method.classifier import Classifier
from esol.method.losses import classify_losses
from esol.runs.work import FolderLock

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
SMOKE = str(ROOT / "tests" / "smoke.yaml")
CONFIG = "tags-folder-cpu"
"""Named by the page's commands; the tests' own settings take its place."""

BARE = ["--refine.methods=[]", "--masks.source=seeds", "--segment.network=none"]


def sections() -> dict[str, list[tuple[str, list[str]]]]:
    """Heading -> its commands, each with the lines that it must print."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for part in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        commands: list[tuple[str, list[str]]] = []
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                if line.startswith("$ "):
                    commands.append((line.removeprefix("$ "), []))
                else:
                    commands[-1][1].append(line)
        if commands:
            found[heading] = commands
    return found


def labels(change: Callable[[str], str]) -> Callable[[], None]:
    def spoil() -> None:
        path = Path("photos/labels.csv")
        path.write_text(change(path.read_text()))

    return spoil


def mask(change: Callable[[Image.Image], Image.Image]) -> Callable[[], None]:
    def spoil() -> None:
        path = Path("photos/masks/00003.png")
        with Image.open(path) as image:
            changed = change(image.copy())
        changed.save(path)

    return spoil


def with_value(image: Image.Image) -> Image.Image:
    image.putpixel((0, 0), 9)
    return image


def no_layout() -> None:
    shutil.rmtree("photos")
    Path("photos").mkdir()


def truncated() -> None:
    path = Path("photos/images/00003.jpg")
    path.write_bytes(path.read_bytes()[:900])


def binary() -> None:
    for path in Path("photos/masks").rglob("*.png"):
        save_mask((load_mask(path) > 0) * np.uint8(255), path)


def shifted() -> None:
    """A tag that the alphabet puts first, on photos without masks."""
    Path("photos/classes.txt").unlink()
    rows = Path("photos/labels.csv").read_text()
    for name in ("new1", "new2"):
        shutil.copy("photos/images/00003.jpg", f"photos/images/{name}.jpg")
        rows += f"images/{name}.jpg,aardvark,train\n"
    Path("photos/labels.csv").write_text(rows)


def one_unicorn() -> None:
    Path("photos/classes.txt").unlink()
    SPOILED["A tag that is no class"]()


def all_defects() -> None:
    with Path("photos/classes.txt").open("a") as classes:
        classes.write("defect\n")
    labels(lambda text: text.replace(".jpg,", ".jpg,defect "))()


def classified() -> None:
    assert main(["classify", SMOKE, "photos", "runs/mine"]) == 0


def moved() -> None:
    classified()
    Path("photos").rename("elsewhere")


def unmeasured() -> None:
    shutil.rmtree("photos/masks")
    assert main(["run", SMOKE, "photos", "runs/mine", "--until", "segment", *BARE]) == 0


def with_a_semicolon(text: str) -> str:
    """The first row has one, the second has two tags and none."""
    header, first, second, *others = text.splitlines()
    rows = [f"{first.split(',')[0]},anchor;,train", f"{second.split(',')[0]},anchor checker,train"]
    return "\n".join((header, *rows, *(row.replace(" ", ";") for row in others)))


def alike() -> None:
    Path("photos/classes.txt").unlink()
    shutil.rmtree("photos/masks")
    labels(lambda text: text.replace("anchor", "Anchor", 2))()


def tagged_none() -> None:
    Path("photos/classes.txt").unlink()
    shutil.rmtree("photos/masks")
    labels(lambda text: text.replace("anchor", "none"))()


def lists_alone() -> None:
    for split in ("train", "val"):
        shutil.copytree("photos/images", f"new/{split}")
    shutil.rmtree("photos")
    Path("new").rename("photos")


def exported() -> None:
    assert main(["run", SMOKE, "photos", "runs/mine", "--until", "masks", *BARE]) == 0
    assert main(["export", "runs/mine", "instances.json", "--to", "coco"]) == 0


SPOILED: dict[str, Callable[[], object]] = {
    "No known layout": no_layout,
    "The header of labels.csv": labels(lambda text: text.partition("\n")[2]),
    "A row without its photo": lambda: Path("photos/images/00003.jpg").unlink(),
    "A row with spaces where other rows have semicolons": labels(with_a_semicolon),
    "Two tags that are nearly surely one": alike,
    "A tag for photos that show no class": tagged_none,
    "Photos that are not read": lambda: [
        Path(f"photos/images/{number}.nef").touch() for number in range(2)
    ],
    "Folders that are no tags": lists_alone,
    "The photos have moved": moved,
    "A file of another label tool": exported,
    "A damaged photo": truncated,
    "A mask of the wrong kind": mask(lambda image: image.convert("RGB")),
    "A mask of another size": mask(lambda image: image.resize((20, 20))),
    "A value in a mask that is no class": mask(with_value),
    "Masks of 0 and 255": binary,
    "Masks and tags disagree": shifted,
    "A tag that is no class": labels(lambda text: text.replace("anchor", "anchor unicorn", 1)),
    "Too few photos of a class": one_unicorn,
    "A class in every photo": all_defects,
    "A misspelt setting": lambda: Path("mine.yaml").write_text("expand: {alpa: 1}\n"),
    "No run there": lambda: Path("runs/mine").mkdir(parents=True),
    "Weights of another network": lambda: save_file({"a": torch.ones(1)}, "other.safetensors"),
    "Weights in a PyTorch file": lambda: torch.save(torch.nn.Linear(1, 1), "mine.pth"),
    "Photos without a row": lambda: shutil.copy("photos/images/00003.jpg", "photos/images/new.jpg"),
    "Made with other settings": classified,
    "A setting of another stage": classified,
    "What --overwrite costs": classified,
    "Nothing is measured": unmeasured,
}
"""Heading -> what is done to good photos, or beforehand, for its messages to come."""

ADDED = {"Nothing is measured": BARE}
"""Heading -> flags that its command is given besides."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("troubles") / "photos"
    write_synthetic(root, photos=24, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


def test_the_page_has_its_sections():
    assert set(SPOILED) <= set(sections())
    assert len(sections()) > 20


@pytest.mark.parametrize("heading", sections())
def test_message_is_what_the_program_says(heading, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "photos")
    SPOILED.get(heading, lambda: None)()
    pretend(heading, monkeypatch)
    for command, expected in sections()[heading]:
        program, *arguments = shlex.split(command)
        assert program == "esol"
        if heading != "Weights cannot be downloaded":
            arguments = [SMOKE if word == CONFIG else word for word in arguments]
        capsys.readouterr()
        try:
            code = main([*arguments, *ADDED.get(heading, [])])
        except SystemExit as stop:
            code = int(stop.code or 0)
        found = "".join(capsys.readouterr())
        assert expected
        for line in expected:
            pattern = re.escape(line).replace(re.escape("..."), ".+")
            assert re.search(f"^{pattern}$", found, re.MULTILINE), found
        refused = any(line.startswith(("esol: ", "problem: ")) for line in expected)
        assert code == (130 if heading == "Interrupted" else 2 if refused else 0)


def pretend(heading: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring about what does not depend on files: no network, no GPU, another process, Ctrl-C."""
    if heading == "Weights cannot be downloaded":

        def unreachable(*_: object, **__: object) -> None:
            raise OSError("We couldn't connect to 'https://huggingface.co' to load the files")

        monkeypatch.setattr(esol.networks.backbone.timm, "create_model", unreachable)
    elif heading == "Out of memory":

        def greedy(model: Classifier, batch: Batch) -> Losses:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

        monkeypatch.setattr(esol.stages.classify, "classify_losses", greedy)
    elif heading == "No GPU":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    elif heading == "Someone else works on it":
        lock = FolderLock(Path("runs/mine"))
        lock.acquire()
        monkeypatch.setattr(esol.stages.classify, "fit", lock)  # keeps it while the test runs
    elif heading == "Interrupted":

        def interrupting(model: Classifier, batch: Batch) -> Losses:
            os.kill(os.getpid(), signal.SIGINT)
            return classify_losses(model, batch)

        monkeypatch.setattr(esol.stages.classify, "classify_losses", interrupting)
