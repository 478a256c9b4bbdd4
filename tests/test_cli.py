"""The command line: exit codes, one-line messages, and what each command leaves behind."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import esol.stages.classify
import esol.stages.expand
from esol.cli.main import main
from esol.data import open_dataset
from esol.data.images import load_mask, save_mask
from esol.data.synthetic import write_synthetic
from esol.maps.files import load_maps
from esol.method.losses import classify_losses
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings import Data

SMOKE = str(Path(__file__).parent / "smoke.yaml")
# At the smoke file's own rate every map ends in 0, and then all masks are alike.
FLAGS = ["--classify.fit.lr", "3e-4"]


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("cli") / "photos"
    write_synthetic(root, photos=24, size=64, seed=0, val_fraction=0.25, hard=True)
    return str(root)


@pytest.fixture(scope="session")
def finished_run(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["run", SMOKE, photos, str(out), *FLAGS]) == 0
    maps = (out / STAGES["cams"].folder).rglob("*.npz")
    assert max(load_maps(path).maps.max() for path in maps) == 1, "no map is alive: tests are blind"
    return out


@pytest.fixture
def copy(finished_run, tmp_path) -> Path:
    """A copy of the finished run that a test may spoil."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def call(capsys):
    """Call the command line: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refused(call):
    """Call the command line with a mistake: exit code 2, and one line, which is returned."""

    def refused(*arguments: object) -> str:
        code, _, err = call(*arguments)
        assert code == 2, err
        assert "Traceback" not in err
        *stages, message = err.rstrip("\n").splitlines()
        told = re.compile(
            rf"(stage \d+ of \d+: )?({'|'.join(STAGES)}): .*|.*; working on it"
            "|to do: .*|list 'train': too few photos.*"
        )
        assert all(told.fullmatch(line) for line in stages), stages
        assert message.startswith("esol: ")
        return message

    return refused


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_bare_call_and_help(call):
    assert call()[0] == 2
    for arguments in (["--help"], ["run", "--help"], ["check", "--help"], ["demo", "--help"]):
        code, out, _ = call(*arguments)
        assert code == 0
        assert out.startswith("usage: esol")
    assert all(stage in call("--help")[1] for stage in STAGES)
    assert call("--version")[1].strip()[0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["foo"], ["foo", "check", "evaluate"]),
        (["run"], ["0 paths", "DATA OUT"]),
        (["run", "nosuch", "PHOTOS", "OUT"], ["nosuch", "no such settings file", "demo"]),
        (["run", SMOKE, "nosuch", "OUT"], ["nosuch", "no such folder"]),
        (["check", "nosuch"], ["nosuch", "no such folder"]),
        (["run", "demo", "PHOTOS"], ["demo is a configuration", "DATA OUT"]),
        (["check", "demo"], ["demo is a configuration", "DATA"]),
        (["report", "nosuch"], ["nosuch", "not a run folder"]),
        (["report", "PHOTOS"], ["not a run folder"]),
        (["evaluate", "nosuch", "--gt", "PHOTOS/masks"], ["nosuch", "no such mask", "--list FILE"]),
        (["evaluate", "PHOTOS/masks", "--gt", "nosuch"], ["nosuch", "no such folder"]),
        (["evaluate", "PHOTOS/masks", "--gt", "PHOTOS/images"], ["not read as a mask"]),
        (["demo", "--no-such"], ["--no-such"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_paths_are_one_line(refused, photos, tmp_path, arguments, words):
    places = {"PHOTOS": photos, "OUT": str(tmp_path / "out")}
    given = []
    for argument in arguments:
        for name, place in places.items():
            argument = argument.replace(name, place) if argument.startswith(name) else argument
        given.append(argument)
    message = refused(*given)
    assert all(word in message for word in words), message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--expand.alpa", "1"], ["expand.alpa", "expand.alpha"]),
        (["--seed", "x"], ["seed = x: must be a whole number"]),
        (["--refine.methods", "irn"], ["refine.methods = irn: must be a list: write [irn]"]),
        (["--expand.fit.step", "3"], ["--expand.fit.step", "did you mean expand.fit.steps?"]),
        (["--cams.flip", "3"], ["cams.flip = 3: must be true or false"]),
        (["--input.longest", "[1,2,3]"], ["input.longest = [1, 2, 3]: must be a list of 2"]),
        (["--expand", "3"], ["expand is a group of settings", "--expand.NAME"]),
        (["--seed", "-1"], ["seed = -1", "0 to 4294967295"]),
        (["--expand.clip", "1.5"], ["expand.clip", "(0, 1]"]),
        (["--expand.learn", "foo"], ["expand.learn", "offsets+w1"]),
        (["--expand.fit.lr", "-1"], ["fit.lr", "greater than 0"]),
        (["--until", "foo"], ["until", "classify"]),
        (["--data.evaluate", "[foo]"], ["data.evaluate", "foo", "train, val"]),
        (["--data.classes", "[foo]"], ["data.classes", "foo", "anchor"]),
        (["--backbone.name", "nosuchnet"], ["backbone.name", "nosuchnet"]),
        (["--backbone.learn", "[nosuch]"], ["backbone.learn", "nosuch"]),
        (["--backbone.weights", "nosuch.safetensors"], ["nosuch.safetensors"]),
    ],
    ids=" ".join,
)
def test_mistakes_in_settings_name_the_key(refused, photos, tmp_path, flags, words):
    message = refused("run", SMOKE, photos, tmp_path / "out", *flags)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: [1, 2\n", ["not YAML"]),
        ("expand: 3\n", ["expand", "group"]),
        ("# all as it is\n", ["no settings in it", "leave the file out"]),
        ("expnd: {alpha: 1}\n", ["expnd", "did you mean expand"]),
        ("expand: {alpa: 1}\n", ["expand.alpa", "did you mean expand.alpha"]),
    ],
)
def test_mistakes_in_a_settings_file_name_the_file(refused, photos, tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = refused("run", path, photos, tmp_path / "out")
    assert all(word in message for word in ("mine.yaml", *words)), message


def test_flags_win_over_the_file_and_printed_settings_read_back(call, tmp_path):
    code, out, _ = call("run", "--seeds.threshold", "0.25", SMOKE, "--print_config")
    assert code == 0
    printed = yaml.safe_load(out)
    assert printed["seeds"]["threshold"] == 0.25
    assert printed["backbone"]["name"] == "test_resnet"
    (tmp_path / "mine.yaml").write_text(out)
    assert call("run", tmp_path / "mine.yaml", "--print_config")[1] == out


def test_check_passes_a_good_set_and_fails_a_bad_one(call, photos, tmp_path):
    code, out, _ = call("check", SMOKE, photos)
    assert code == 0
    assert "problems: 0" in out
    bad = Path(shutil.copytree(photos, tmp_path / "bad"))
    (bad / "images" / "00003.jpg").write_bytes(b"no photo")
    code, out, _ = call("check", SMOKE, bad)
    assert code == 2
    assert "00003.jpg" in out


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "utf-8"])
def test_names_that_a_terminal_cannot_show_do_not_stop_it(photos, tmp_path, encoding):
    data = Path(shutil.copytree(photos, tmp_path / "data"))
    for name in ("labels.csv", "classes.txt"):
        text = (
            (data / name)
            .read_text(encoding="utf-8")
            .replace("anchor", "größe")
            .replace("checker", "犬")
        )
        (data / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "esol", "check", str(data)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert ("größe" if encoding != "ascii" else r"gr\xf6\xdfe") in shown
    assert ("犬" if encoding == "utf-8" else r"\u72ac") in shown


def test_until_then_from_gives_the_bytes_of_one_run(call, finished_run, photos, tmp_path):
    out = tmp_path / "run"
    assert call("run", SMOKE, photos, out, *FLAGS, "--until", "expand")[0] == 0
    assert [stage for stage in STAGES if RunFolder(out).is_finished(stage)] == [
        "classify",
        "expand",
    ]
    assert not (out / "report.html").exists()
    assert call("shrink", SMOKE, photos, out, *FLAGS)[0] == 0
    assert [stage for stage in STAGES if RunFolder(out).is_finished(stage)] == [
        "classify",
        "expand",
        "shrink",
    ]
    assert call("run", SMOKE, photos, out, *FLAGS, "--from", "cams")[0] == 0
    names = ("manifest.json", "log.txt")
    timed = {f"{stage.folder}/{name}" for stage in STAGES.values() for name in names} | {
        "report.html"
    }
    there, here = tree(finished_run), tree(out)
    assert there.keys() == here.keys()
    assert [name for name in there.keys() - timed if there[name] != here[name]] == []


@pytest.mark.parametrize("stage", [stage for stage in list(STAGES)[1:] if stage != "peer"])
def test_a_stage_without_the_one_before_says_so(refused, photos, tmp_path, stage):
    assert "is not finished; run the stage" in refused(stage, SMOKE, photos, tmp_path / "run")


def test_other_settings_are_refused_then_overwritten(call, refused, copy, photos):
    before = tree(copy / STAGES["seeds"].folder)
    arguments = ["run", SMOKE, photos, copy, *FLAGS, "--seeds.threshold", "0.6"]
    message = refused(*arguments)
    assert "seeds.threshold = 0.3, not 0.6" in message
    assert "--overwrite" in message
    assert tree(copy / STAGES["seeds"].folder) == before
    manifest = (copy / STAGES["cams"].folder / "manifest.json").read_bytes()
    code, out, _ = call(*arguments, "--overwrite")
    assert code == 0
    assert re.search(r"^ +CAM +0\.60 ", out, re.MULTILINE)
    assert tree(copy / STAGES["seeds"].folder) != before
    assert (copy / STAGES["cams"].folder / "manifest.json").read_bytes() == manifest, (
        "maps made anew"
    )


def test_evaluate_masks_prints_the_numbers_of_the_run(call, finished_run, photos, tmp_path):
    """The seeds on disk, as any folder of masks, measure what the run says of its own list."""
    labels = (Path(photos) / "labels.csv").read_text().splitlines()
    truth = tmp_path / "truth"
    truth.mkdir()
    for row in labels:
        if row.endswith(",val"):
            name = Path(row.split(",")[0]).stem + ".png"
            shutil.copy(Path(photos) / "masks" / name, truth)
    code, out, _ = call("evaluate", finished_run / STAGES["seeds"].folder, "--gt", truth, "--json")
    assert code == 0
    found = json.loads(out)
    metrics = json.loads((finished_run / STAGES["evaluate"].folder / "metrics.json").read_text())
    fixed = metrics["lists"]["val"]["shrinkage"]["fixed"]
    assert found["photos"] == 6
    assert found["foreground_recall"] > 0
    for key in ("miou", "precision", "recall", "f1_of_means", "foreground_precision"):
        assert found[key] == pytest.approx(fixed[key]), key


def test_run_prints_the_numbers_and_where_the_report_is(call, finished_run, photos):
    code, out, err = call("run", SMOKE, photos, finished_run, *FLAGS)
    assert code == 0
    metrics = json.loads((finished_run / STAGES["evaluate"].folder / "metrics.json").read_text())
    for found in metrics["lists"].values():
        assert f"{100 * found['shrinkage']['fixed']['miou']:.1f}" in out
    assert out.rstrip().endswith(f"report: {finished_run / 'report.html'}")
    assert "\x1b" not in out + err, "colour codes outside a terminal"


def test_what_the_numbers_cannot_say_stands_beside_them(call, copy, photos, tmp_path):
    data = Path(shutil.copytree(photos, tmp_path / "photos"))
    for path in (data / "masks").rglob("*.png"):
        mask = load_mask(path)
        save_mask(np.where(mask, mask, np.uint8(255)), path)
    said = "the ground truth has no background: foreground precision"
    assert said in call("check", data)[1]
    sample = open_dataset(data, Data(evaluate=("val",))).samples("val")[0]
    other = next(value for value in range(1, 7) if value - 1 not in sample.tags)
    mask = load_mask(sample.mask)
    save_mask(np.where(mask == 255, mask, np.uint8(other)), sample.mask)
    code, out, err = call("evaluate", SMOKE, data, copy, *FLAGS, "--overwrite")
    assert code == 0
    metrics = json.loads((copy / STAGES["evaluate"].folder / "metrics.json").read_text())
    assert call("report", copy)[0] == 0
    page = html.unescape((copy / "report.html").read_text())
    for split, found in metrics["lists"].items():
        warning, *more = found["warnings"]
        assert warning.startswith(said)
        assert len(more) == (split == "val")
        assert all("1 of 6 masks show other classes" in line and line in page for line in more)
        assert f"warning: {split}: {said}" in out
        assert f"evaluate: {split}: {said}" in err
    first, _, rest = page.partition('<section id="gallery">')
    assert all(f"Warning: {split}: {said}" in first for split in metrics["lists"])
    assert rest.count("<h2>Numbers on") == len(metrics["lists"])


def test_report_is_rebuilt_to_the_byte(call, copy):
    report = copy / "report.html"
    before = report.read_bytes()
    report.unlink()
    code, out, _ = call("report", copy)
    assert (code, out.strip()) == (0, str(report))
    assert report.read_bytes() == before


@pytest.mark.parametrize(
    ("last", "shown", "absent"),
    [
        ("classify", ["No masks yet", "classify: loss by step"], ["expand: class", "<h2>Gallery"]),
        ("cams", ["04-cams/", "No masks yet", 'id="data"'], ["07-masks", "Background fills"]),
        ("masks", ["07-masks/", "Background fills", 'id="data"'], ["No masks", "08-segment"]),
        ("segment", ["07-masks/", "08-segment/model.safetensors"], ["No masks yet"]),
    ],
)
def test_report_of_an_unfinished_run_shows_what_is_there(call, copy, last, shown, absent):
    stages = list(STAGES)
    for stage in stages[stages.index(last) + 1 :]:
        shutil.rmtree(copy / STAGES[stage].folder, ignore_errors=True)
    code, _, err = call("report", copy)
    assert code == 0, err
    page = html.unescape((copy / "report.html").read_text())
    visible = page.partition("<script>")[0]
    assert all(text in visible for text in shown)
    assert not any(text in visible for text in [*absent, "Numbers on"])
    first = visible.partition('<section id="gallery">')[0]
    assert (first.count("<img ") == 6) == (last != "classify")


def test_report_refuses_photos_that_are_no_longer_those_of_the_run(refused, copy, photos, tmp_path):
    data = Path(shutil.copytree(photos, tmp_path / "photos"))
    (copy / "run.json").write_text(json.dumps({"data": str(data)}))
    labels = (data / "labels.csv").read_text().splitlines()
    (data / "labels.csv").write_text("\n".join(labels[:-1]) + "\n")
    assert "changed since they were measured" in refused("report", copy)
    shutil.rmtree(copy / STAGES["evaluate"].folder)
    assert "changed since maps were made of them" in refused("report", copy)


def test_photos_without_masks_give_seeds_and_a_report(call, photos, tmp_path):
    bare = Path(shutil.copytree(photos, tmp_path / "bare"))
    shutil.rmtree(bare / "masks")
    code, out, err = call("run", SMOKE, bare, tmp_path / "run", "--expand.learn", "nothing")
    assert code == 0
    assert "nothing is measured" in err
    assert len(list((tmp_path / "run" / STAGES["seeds"].folder).glob("*.png"))) == 24
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    visible = page.partition('<script type="application/json"')[0]
    rest = page.partition("</script>")[2].partition("<script>")[0]
    for text in ("truth", "mIoU", "error", "Numbers on"):
        assert text not in visible, text
        assert text not in rest.partition("<details><summary>Settings")[0], text
    assert "Background fills" in visible
    assert "by confidence" in visible
    assert "How often each class was found" in rest
    assert out.splitlines()[-1].startswith("report: ")


def test_interrupt_is_130_and_the_same_command_goes_on(call, photos, tmp_path, monkeypatch):
    out, steps = tmp_path / "run", []

    def interrupting(model, batch):
        steps.append(batch.names)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return classify_losses(model, batch)

    monkeypatch.setattr(esol.stages.classify, "classify_losses", interrupting)
    arguments = ["classify", SMOKE, photos, out, *FLAGS]
    code, _, err = call(*arguments)
    assert code == 130
    assert err.rstrip().endswith("esol: interrupted; the same command goes on where it stopped")
    assert not RunFolder(out).is_finished("classify")
    assert call(*arguments)[0] == 0
    assert RunFolder(out).is_finished("classify")
    assert len(steps) == 5, "a step was done twice, or left out"


def test_an_interrupted_first_run_is_a_run_folder(call, photos, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(esol.stages.expand, "expand_losses", interrupted)
    assert call("run", SMOKE, photos, out, *FLAGS)[0] == 130
    code, _, err = call("export", out, tmp_path / "masks.json", "--to", "coco")
    assert code == 2
    assert "masks" in err
    assert "not a run folder" not in err


def test_a_refused_command_leaves_the_run_as_it_was(refused, copy, photos):
    before = tree(copy)
    refused("run", SMOKE, photos, copy, *FLAGS, "--seeds.threshold", "0.6")
    assert tree(copy) == before


def test_other_masks_are_measured_anew(call, copy, photos, tmp_path):
    moved = Path(shutil.copytree(photos, tmp_path / "photos"))
    masks = sorted((moved / "masks").glob("*.png"))
    for path in masks:
        with Image.open(path) as image:
            Image.new("P", image.size, 1).save(path)
    metrics = copy / STAGES["evaluate"].folder / "metrics.json"
    before = metrics.read_bytes()
    code, _, _ = call("run", SMOKE, moved, copy, *FLAGS)
    assert code == 2 or metrics.read_bytes() != before


def test_masks_that_come_later_do_not_undo_the_training(call, photos, tmp_path):
    bare = Path(shutil.copytree(photos, tmp_path / "bare"))
    shutil.move(bare / "masks", tmp_path / "masks")
    arguments = ["classify", SMOKE, bare, tmp_path / "run"]
    assert call(*arguments)[0] == 0
    shutil.move(tmp_path / "masks", bare / "masks")
    assert call(*arguments)[0] == 0


def test_the_advice_on_a_damaged_map_works(call, refused, copy, photos):
    path = sorted((copy / STAGES["cams"].folder / "shrinkage").glob("*.npz"))[0]
    good = path.read_bytes()
    # Of the same size: a cut one is noticed, and made again without a word.
    path.write_bytes(bytes(len(good)))
    shutil.rmtree(copy / STAGES["evaluate"].folder)
    refused("run", SMOKE, photos, copy, *FLAGS)
    path.unlink()
    assert call("cams", SMOKE, photos, copy, *FLAGS)[0] == 0
    assert path.read_bytes() == good


def test_a_kill_before_the_identity_is_written_leaves_a_usable_folder(call, photos, tmp_path):
    stage = tmp_path / "run" / STAGES["classify"].folder
    stage.mkdir(parents=True)
    (stage / ".tmp-0123456789abcdef.json").write_text("{")
    assert call("classify", SMOKE, photos, tmp_path / "run")[0] == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--cams.lists", "[foo]"],
        ["--cams.lists", "[train]"],
        ["--backbone.stride", "4"],
        ["--seed", "5000000000"],
        ["--from", "evaluate", "--until", "cams"],
    ],
    ids=" ".join,
)
def test_mistakes_are_found_before_anything_is_trained(refused, photos, tmp_path, flags):
    refused("run", SMOKE, photos, tmp_path / "out", *flags)
    assert not (tmp_path / "out" / STAGES["classify"].folder / "manifest.json").exists()


def test_a_training_that_runs_away_names_the_photos(call, photos, tmp_path):
    flags = ["--classify.fit.optimizer=sgd", "--classify.fit.lr=1e6", "--classify.fit.batch=4"]
    code, _, err = call("classify", SMOKE, photos, tmp_path / "run", *flags)
    assert (code, "Traceback" in err) == (2, False)
    message = err.splitlines()[-1]
    assert message.startswith("esol: loss or gradient is not finite; lower the stage's fit.lr")
    named = message.rpartition(": ")[2].split(", ")
    assert len(set(named)) == 4
    assert {f"images/{name}.jpg" for name in named} < {
        path.relative_to(photos).as_posix() for path in Path(photos).glob("images/*")
    }
    assert not RunFolder(tmp_path / "run").is_finished("classify")


def test_an_out_that_cannot_be_made_is_one_line(refused, photos, tmp_path):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/run"):
        assert "file" in refused("run", SMOKE, photos, tmp_path / out)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", "{}"),
        ("09-evaluate/manifest.json", "[]"),
        ("09-evaluate/metrics.json", "{}"),
        ("01-classify/metrics.jsonl", "{\n"),
    ],
)
def test_report_of_a_damaged_run_names_the_file(refused, copy, name, text):
    (copy / name).write_text(text)
    assert Path(name).name in refused("report", copy)


def test_check_does_not_cut_file_names_in_two(call, photos, tmp_path):
    bad = Path(shutil.copytree(photos, tmp_path / "bad"))
    (bad / "images" / "00003.jpg").write_bytes(b"no photo")
    _, out, err = call("check", SMOKE, bad)
    assert "images/00003.jpg: not an image" in out + err


def test_other_tables_are_not_printed_as_this_runs(call, copy, photos):
    code, out, _ = call(
        *["run", SMOKE, photos, copy, *FLAGS, "--seed", "3", "--until", "classify", "--overwrite"]
    )
    assert code == 0
    assert "mIoU" not in out


def test_a_reader_that_has_seen_enough_is_no_fault(tmp_path):
    command = [sys.executable, "-m", "esol", "evaluate", str(tmp_path), "--gt", str(tmp_path)]
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (found.returncode, found.stderr) == (141, "")
