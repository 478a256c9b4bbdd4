"""Run folders: edited, damaged, foreign, and of a newer version."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corpus import Command, Kind, Place, sound
from corpus.images import SMOKE
from esol.data.images import save_mask
from esol.runs.stages import STAGES

Spoil = Callable[[Path], object]


def replaced(file: str, content: bytes | str) -> Spoil:
    data = content.encode() if isinstance(content, str) else content
    return lambda run: (run / file).write_bytes(data)


def edited(file: str, *keys: str, to: Any = None) -> Spoil:
    """A value deep in a JSON file is another; None: it is gone."""

    def spoil(run: Path) -> None:
        whole = content = json.loads((run / file).read_text())
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to
        if to is None:
            del content[keys[-1]]
        (run / file).write_text(json.dumps(whole))

    return spoil


def removed(file: str) -> Spoil:
    return lambda run: (run / file).unlink()


def report(spoil: Spoil, place: Place) -> Command:
    spoil(place.run)
    return ["report", place.run]


def again(spoil: Spoil, place: Place, *more: str) -> Command:
    """The command that made the run, once more."""
    spoil(place.run)
    data = place.finished.parent / "data"
    flags = ["--data.evaluate=[train]", "--classify.fit.lr=3e-4"]
    return ["run", SMOKE, data, place.run, *flags, *more]


def anew(spoil: Spoil, place: Place) -> Command:
    return again(spoil, place, "--overwrite")


def learning_on(spoil: Spoil, place: Place, *more: str) -> Command:
    """A new run that starts from the classifier of the spoiled one."""
    spoil(place.run)
    flags = ["--data.evaluate=[train]", f"--classify.init={place.run}", *more]
    return ["run", SMOKE, place.data, place.out, *flags]


def exported(what: str, spoil: Spoil, place: Place) -> Command:
    spoil(place.run)
    return ["export", place.run, place.folder / "out.json", "--to", "coco", "--what", what]


def predicted(spoil: Spoil, place: Place) -> Command:
    spoil(place.run)
    photo = place.finished.parent / "data" / "images" / "a.jpg"
    return ["predict", place.run, photo, place.out]


def corrected(run: Path, **changes: Any) -> None:
    """A folder of corrected masks, of which the manifest is not what import writes."""
    folder = run / "corrected"
    save_mask(np.ones((24, 32), np.uint8), folder / "a.png")
    content = {"classes": ["cat", "dog"], "photos": {}, "sources": {}, **changes}
    (folder / "manifest.json").write_text(json.dumps(content))


EVALUATED, MASKS, CAMS = (STAGES[stage].folder for stage in ("evaluate", "masks", "cams"))
MANIFEST = f"{EVALUATED}/manifest.json"

REPORT: dict[str, tuple[Spoil, tuple[str, str]]] = {
    "no run.json": (removed("run.json"), ("run", "give what esol run wrote")),
    "run.json of zero bytes": (replaced("run.json", ""), ("run.json", "regenerate it")),
    "run.json a list": (replaced("run.json", "[]"), ("run.json", "run the last esol run command")),
    "run.json too deep": (replaced("run.json", "[" * 99_999), ("run.json", "regenerate it")),
    "data gone": (edited("run.json", "data", to="/nowhere"), ("/nowhere", "give the folder")),
    "no settings": (removed("settings.yaml"), ("settings.yaml", "run the last esol run command")),
    "settings broken": (replaced("settings.yaml", "seed: ["), ("settings.yaml", "fix it")),
    "settings of a newer version": (
        lambda run: (run / "settings.yaml").write_text(
            (run / "settings.yaml").read_text() + "magic: {wand: 3}\n"
        ),
        ("settings.yaml", "another version of esol"),
    ),
    "settings edited": (
        lambda run: (run / "settings.yaml").write_text(
            (run / "settings.yaml").read_text().replace("evaluate:\n  - train", "evaluate:\n  - x")
        ),
        ("data.evaluate = 'x'", "no such list"),
    ),
    "manifest of zero bytes": (replaced(MANIFEST, ""), (MANIFEST, "run again")),
    "manifest no object": (replaced(MANIFEST, "3"), (MANIFEST, "run again")),
    "manifest without identity": (edited(MANIFEST, "identity"), (MANIFEST, "run again")),
    "manifest without what came before": (
        edited(MANIFEST, "identity", "after"),
        (MANIFEST, "run again"),
    ),
    "manifest without data": (edited(MANIFEST, "identity", "data"), ("data", "run again")),
    "manifest with a number for an object": (
        edited(MANIFEST, "identity", "after", to=3),
        (MANIFEST, "run again"),
    ),
    "manifest with outputs no numbers": (
        edited(MANIFEST, "outputs", "bytes", to="many"),
        (MANIFEST, "run again"),
    ),
    "manifest with a stage unknown": (
        edited(MANIFEST, "identity", "after", "magic", to={"files": 1}),
        (MANIFEST, "run again"),
    ),
    "manifest of the network without encoder": (
        edited("08-segment/manifest.json", "results", "encoder"),
        ("08-segment/manifest.json", "run again"),
    ),
    "earlier stage made anew since": (
        edited(f"{MASKS}/manifest.json", "outputs", "sha256", to="0" * 64),
        ("masks", "run evaluate again"),
    ),
    "metrics gone": (removed(f"{EVALUATED}/metrics.json"), ("metrics.json", "run")),
    "metrics edited": (
        edited(f"{EVALUATED}/metrics.json", "lists", "train", "photos", to="nine"),
        (EVALUATED, "run evaluate again"),
    ),
    "metrics cut off": (replaced(f"{EVALUATED}/metrics.json", '{"lists'), ("metrics.json", "run")),
    "losses cut off": (
        replaced("01-classify/metrics.jsonl", '{"step": '),
        ("metrics.jsonl", "run"),
    ),
    "losses no objects": (replaced("01-classify/metrics.jsonl", "7\n"), ("metrics.jsonl", "run")),
    "losses without step": (
        replaced("01-classify/metrics.jsonl", "{}\n"),
        ("metrics.jsonl", "run"),
    ),
    "losses that are texts": (
        replaced("01-classify/metrics.jsonl", '{"step": 1, "loss": "x"}\n'),
        ("metrics.jsonl", "run"),
    ),
    "losses no UTF-8": (replaced("01-classify/metrics.jsonl", b"\xff\n"), ("metrics.jsonl", "run")),
    "a map cut off": (replaced(f"{CAMS}/cam/a.npz", b"PK\3\4"), ("cam/a.npz", "run esol cams")),
    "a map gone": (removed(f"{CAMS}/cam/a.npz"), ("cam/a.npz", "esol cams")),
    "a map that is a pickle": (
        lambda run: np.savez(run / CAMS / "cam" / "a.npz", maps=np.array([{}], object)),
        ("cam/a.npz", "run esol cams"),
    ),
    "a mask of zero bytes": (replaced(f"{MASKS}/a.png", b""), (f"{MASKS}/a.png", "replace")),
}

AGAIN: dict[str, tuple[Spoil, tuple[str, str]]] = {
    "identity of zero bytes": (replaced("01-classify/identity.json", ""), ("identity.json", "run")),
    "identity of a newer version": (
        edited("01-classify/identity.json", "version", to=99),
        ("01-classify", "--overwrite"),
    ),
    "identity of other settings": (
        edited("01-classify/identity.json", "seed", to=5),
        ("01-classify", "--overwrite"),
    ),
    "manifest no object": (replaced("01-classify/manifest.json", "[]"), ("manifest.json", "run")),
    "manifest without outputs": (
        edited("01-classify/manifest.json", "outputs", "files"),
        ("manifest.json", "run again"),
    ),
    "manifest of masks without source": (
        edited(f"{MASKS}/manifest.json", "results", "source"),
        (f"{MASKS}/manifest.json", "run again"),
    ),
    "corrections broken": (
        lambda run: corrected(run, photos=[1]),
        ("corrected/manifest.json", "run esol import again"),
    ),
    "corrections without sum": (
        lambda run: corrected(run, photos={"a": {}}),
        ("corrected/manifest.json", "run esol import again"),
    ),
    "corrections whose sum is no sum": (
        lambda run: corrected(run, photos={"a": {"sha256": "zz", "source": "x"}}),
        ("corrected/manifest.json", "run esol import again"),
    ),
}

ANEW: dict[str, tuple[Spoil, tuple[str, str]]] = {
    "corrections edited": (
        lambda run: corrected(run, photos={"a": {"sha256": "0" * 64, "source": "x"}}),
        ("corrected/a.png", "run esol import again"),
    ),
    "corrections of other classes": (
        lambda run: corrected(
            run, classes=["ape"], photos={"a": {"sha256": "0" * 64, "source": "x"}}
        ),
        ("corrected", "remove the folder"),
    ),
}


CLASSIFIER = STAGES["classify"].folder
INIT: dict[str, tuple[Spoil, tuple[str, ...], tuple[str, str]]] = {
    "no such run": (shutil.rmtree, (), ("run", "give what esol run wrote")),
    "no run": (removed("run.json"), (), ("run", "give what esol run wrote")),
    "no classifier": (
        lambda run: shutil.rmtree(run / CLASSIFIER),
        (),
        (CLASSIFIER, "name another run"),
    ),
    "classifier not finished": (
        removed(f"{CLASSIFIER}/manifest.json"),
        (),
        (CLASSIFIER, "--until classify"),
    ),
    "classifier damaged": (
        replaced(f"{CLASSIFIER}/classifier.safetensors", b"cut"),
        (),
        (CLASSIFIER, "run classify again"),
    ),
    "classes no names": (
        edited(f"{CLASSIFIER}/manifest.json", "identity", "data", "classes", to=[3]),
        (),
        ("manifest.json", "run again"),
    ),
    "no class in common": (
        edited(f"{CLASSIFIER}/manifest.json", "identity", "data", "classes", to=["ape", "gnu"]),
        (),
        ("none of its classes (ape, gnu)", "leave classify.init out"),
    ),
    "another network": (
        lambda run: None,
        ("--backbone.name=resnet10t",),
        ("backbone.name = test_resnet, not resnet10t", "set what it was made with"),
    ),
    "another head": (
        lambda run: None,
        ("--head.width=8",),
        ("head.width = 16, not 8", "leave classify.init out"),
    ),
}


def foreign_folder(place: Place) -> Command:
    """A stage's folder with things of somebody else."""
    place.write("out/01-classify/thesis.tex", "precious")
    return ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]"]


def file_for_folder(place: Place) -> Command:
    place.write("out", "precious")
    return ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]"]


def data_as_run(place: Place) -> Command:
    return ["report", place.data]


def data_edited(place: Place) -> Command:
    """The report is of photos that have other tags now."""
    data = place.folder / "moved"
    shutil.copytree(place.finished.parent / "data", data)
    edited("run.json", "data", to=str(data))(place.run)
    rows = (data / "labels.csv").read_text()
    (data / "labels.csv").write_text(rows.replace("a.jpg,cat", "a.jpg,dog"))
    return ["report", place.run]


def other_classes(place: Place) -> Command:
    data = sound(place.folder / "other")
    (data / "classes.txt").write_text("dog\ncat\n")
    return ["export", place.run, place.folder / "out.json", "--to", "coco", "--data", data]


def no_model(place: Place) -> Command:
    shutil.rmtree(place.run / STAGES["segment"].folder)
    return predicted(lambda run: None, place)


def moved(place: Place) -> Command:
    """The run folder was moved and renamed, which is no fault."""
    place.run.rename(place.folder / "umbenannt ü")
    return ["report", place.folder / "umbenannt ü"]


def has_stages(place: Place) -> None:
    assert "CAM" in (place.run / "report.html").read_text()


def has_report(place: Place) -> None:
    page = (place.folder / "umbenannt ü" / "report.html").read_text()
    assert "umbenannt ü" in page


KINDS = (
    *(
        Kind(f"report: {name}", partial(report, spoil), says)
        for name, (spoil, says) in REPORT.items()
    ),
    *(Kind(f"run: {name}", partial(again, spoil), says) for name, (spoil, says) in AGAIN.items()),
    *(Kind(f"run: {name}", partial(anew, spoil), says) for name, (spoil, says) in ANEW.items()),
    *(
        Kind(
            f"classify.init: {name}", lambda place, s=spoil, m=more: learning_on(s, place, *m), says
        )
        for name, (spoil, more, says) in INIT.items()
    ),
    Kind(
        "export: a mask gone",
        partial(exported, "masks", removed(f"{MASKS}/a.png")),
        (f"{MASKS}/a.png", "make the stage masks"),
    ),
    Kind(
        "export: a mask of another size",
        partial(
            exported,
            "masks",
            lambda run: save_mask(np.ones((9, 9), np.uint8), run / MASKS / "a.png"),
        ),
        (f"{MASKS}/a.png", "make its stage again"),
    ),
    Kind(
        "export: manifest without classes",
        partial(exported, "masks", edited(f"{MASKS}/manifest.json", "identity", "data", "classes")),
        (f"{MASKS}/manifest.json", "run again"),
    ),
    Kind("predict: a run without a model", no_model, ("08-segment", "run the stage segment")),
    Kind(
        "predict: manifest damaged",
        partial(predicted, edited("08-segment/manifest.json", "identity", "after", to=[1])),
        ("08-segment/manifest.json", "run again"),
    ),
    Kind("report: not measured yet", partial(report, removed(MANIFEST)), then=has_stages),
    Kind("run: files of somebody else", foreign_folder, ("01-classify", "use another folder")),
    Kind("run: a file for the folder", file_for_folder, ("out", "name another")),
    Kind("report: a data folder", data_as_run, ("data", "give what esol run wrote")),
    Kind("report: tags edited since", data_edited, ("moved", "run again")),
    Kind("export: classes in another order", other_classes, ("other", "--data")),
    Kind("report: the run was moved", moved, then=has_report),
)
