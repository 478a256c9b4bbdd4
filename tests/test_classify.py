"""Stage classify: what it says before it trains."""

from pathlib import Path

import pytest
import torch

from esol.cli.main import main
from esol.data.synthetic import write_synthetic

SMOKE = str(Path(__file__).parent / "smoke.yaml")


@pytest.mark.parametrize(
    ("above_0", "power", "advised"),
    [
        (0.09, 1, "0.33"),
        (0.09, 0.33, ""),
        (0.2, 1, ""),
        (0.2, 0.33, ""),
        (0.35, 0.33, "1"),
        (0, 1, ""),
    ],
)
def test_a_power_that_does_not_fit_the_features_is_warned_of(
    above_0, power, advised, tmp_path, monkeypatch, capsys
):
    write_synthetic(tmp_path / "photos", photos=16, size=64, seed=0)
    features = torch.arange(100).lt(100 * above_0).float().reshape(1, 1, 10, 10)
    monkeypatch.setattr("esol.stages.classify.features_of", lambda backbone, batch: features)
    flags = ("--backbone.learn=[]", "--backbone.norm=frozen", f"--backbone.power={power}")
    command = ["classify", SMOKE, str(tmp_path / "photos"), str(tmp_path / "run"), *flags]
    assert main([*command, "--classify.fit.steps=1"]) == 0
    told = "".join(capsys.readouterr())
    warning = f"{100 * above_0:.0f} % of the features of test_resnet are above 0; try {advised} ("
    assert (warning in told) if advised else ("are above 0" not in told)


@pytest.mark.parametrize(("name", "warns"), [("test_vit", True), ("test_resnet", False)])
def test_few_photos_are_warned_of_where_a_transformer_learns(name, warns, tmp_path, capsys):
    write_synthetic(tmp_path / "photos", photos=16, size=64, seed=0)
    flags = (f"--backbone.name={name}", "--backbone.learn=[]", "--backbone.norm=frozen")
    flags += ("--method=cam", "--backbone.stride=16", "--classify.fit.steps=1")
    flags += ("--refine.methods=[]", "--masks.source=crf")
    command = ["classify", SMOKE, str(tmp_path / "photos"), str(tmp_path / "run")]
    assert main([*command, *flags]) == 0
    told = "".join(capsys.readouterr())
    assert (" photos are few for a frozen transformer" in told) == warns
