"""Settings, from a file or a flag, make no objects and call nothing."""

import logging

import pytest

from esol.cli.main import main

YAML = [
    'input: !!python/object/apply:os.mkdir ["MARKER"]',
    'seed: !!python/object/new:os.mkdir ["MARKER"]',
    "seed: !!python/name:os.system",
    "input: {class_path: os.mkdir, init_args: {path: MARKER}}",
    "segment: {crf: {class_path: os.mkdir, init_args: {path: MARKER}}}",
    "class_path: os.mkdir",
]


@pytest.mark.parametrize("text", YAML)
@pytest.mark.parametrize("how", ["file", "flag"])
def test_settings_make_no_objects(text, how, tmp_path, capsys, monkeypatch):
    # The command line sets up logging for the streams that it finds here.
    monkeypatch.setattr(logging.root, "handlers", [])
    marker, settings = tmp_path / "marker", tmp_path / "settings.yaml"
    text = text.replace("MARKER", str(marker))
    settings.write_text(text)
    (tmp_path / "dog").mkdir()
    key, value = text.split(": ", 1)
    given = [str(settings)] if how == "file" else [f"--{key}={value}"]
    try:
        code = main(["check", *given, str(tmp_path)])
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr().err
    assert code == 2, told
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("esol: ")
    assert not marker.exists()
