"""Settings files, flags and the messages for mistakes in them."""

import ast
from pathlib import Path

import pytest

import esol.settings
from esol.cli.main import main
from esol.errors import InputError
from esol.settings import Settings
from esol.settings.load import config_folder, dump_settings, load_settings

CONFIGS = sorted(config_folder().rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_parses(path):
    assert isinstance(load_settings(str(path)), Settings)


def test_there_are_configurations():
    assert {"demo", "tags-folder", "voc-animals", "voc-animals-cpu"} <= {p.stem for p in CONFIGS}


def test_dumped_settings_read_back(tmp_path):
    settings = load_settings("demo", "--expand.alpha=0.5", "--seed=3", "--cams.scales=[1.0, 0.5]")
    path = tmp_path / "settings.yaml"
    path.write_text(dump_settings(settings))
    assert load_settings(str(path)) == settings


def test_printed_config_reads_back(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--expand.alpha", "0.125", "--data.classes", "[a, b]", "--print_config"])
    assert stopped.value.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    settings = load_settings(str(path))
    assert settings.expand.alpha == 0.125
    assert settings.data.classes == ("a", "b")


def test_flags_win_over_the_file_wherever_they_stand(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("seed: 1\nexpand: {alpha: 0.25}\n")
    assert load_settings(str(path)).seed == 1
    assert load_settings(str(path), "--seed=2").seed == 2
    assert load_settings(str(path), "--seed=2").expand.alpha == 0.25


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--expand.alhpa=1"], ["expand.alhpa", "expand.alpha"]),
        (["--expand.alpha=many"], ["expand.alpha = many: must be a number"]),
        (["--expand.alpha=-1"], ["expand.alpha", "-1", "greater than 0"]),
        (["--expand.learn=all"], ["expand.learn", "all", "offsets+w1"]),
        (["--expand.clip=0"], ["expand.clip", "(0, 1]"]),
        (["--seeds.threshold=1.5"], ["seeds.threshold", "[0, 1)"]),
        (["--input.size=8"], ["input.size", "at least 32"]),
        (["--backbone.stride=5"], ["backbone.stride", "16"]),
        (["--classify.fit.batch=0"], ["classify.fit.batch", "greater than 0"]),
        (["--shrink.sampler.kernel=2"], ["shrink.sampler.kernel", "1, 3 or 5"]),
        (["--cams.scales=[]"], ["cams.scales"]),
        (["--backbone.cache=true", "--backbone.learn=[]"], ["input.resize", "squash"]),
        (["--backbone.cache=true"], ["input.resize", "squash"]),
    ],
)
def test_mistake_is_one_line_naming_key_and_what_is_allowed(flags, words, capsys, tmp_path):
    assert main(["run", str(tmp_path), str(tmp_path / "run"), *flags]) == 2
    message = capsys.readouterr().err
    assert len(message.strip().splitlines()) == 1
    for word in words:
        assert word in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "word"),
    [("expand: {alhpa: 1}", "alhpa"), ("expand: 3", "expand"), ("- 1", ""), ("a: [", "")],
)
def test_mistake_in_a_file_is_an_input_error(text, word, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_settings(str(path))
    assert word in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_unknown_configuration_lists_the_names():
    with pytest.raises(InputError, match="voc-animals-cpu"):
        load_settings("no-such")


def test_every_field_is_explained():
    """Each field's line is followed by a string."""
    files = Path(esol.settings.__file__).parent.glob("*.py")
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    groups = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(groups) > 15
    for group in groups:
        for field, after in zip(group.body, group.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(after, ast.Expr), f"{group.name}.{field.target.id}"


def test_what_lists_hold_stays_text(tmp_path):
    """YAML takes these for other things."""
    names = ("yes", "no", "on", "null", "~", "007", "1e3", "2024-01-01", "12:30", "true")
    listed = f"[{', '.join(names)}]"
    path = tmp_path / "s.yaml"
    path.write_text(
        f"data: {{classes: {listed}, evaluate: [2012]}}\ncams: {{scales: [0.5, 1e0]}}\n"
    )
    settings = load_settings(str(path))
    assert settings.data.classes == names
    assert settings.data.evaluate == ("2012",)
    assert settings.cams.scales == (0.5, 1.0)
    assert load_settings("demo", f"--data.classes={listed}").data.classes == names
    path.write_text(dump_settings(settings))
    assert load_settings(str(path)) == settings
