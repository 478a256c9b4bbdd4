"""The archive for VOC's server: its tree, its bytes, and what is refused before it is packed."""

import logging
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from esol.cli.main import main
from esol.data.classes import VOC_CLASSES
from esol.data.images import palette, save_mask
from esol.errors import InputError
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import save_bundle
from esol.predict.model import Model
from esol.predict.submission import voc_submission
from esol.settings import Segment

NAMES = ("2008_000006", "2008_000011", "2008_000001")
SIZES = ((40, 56), (40, 56), (61, 33))
DESCRIPTION = {
    "resize": "crop",
    "size": 64,
    "longest": 64,
    "scales": [1.0],
    "flip": False,
    "crf": {"iterations": 0},
}


class Red(torch.nn.Module):
    """The redder a pixel, the higher its class: a network whose answer can be told beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += len(images)
        values = torch.arange(21.0).view(1, -1, 1, 1)
        return -(((images[:, :1] * 0.229 + 0.485) * 20 - values) ** 2) * 20


def model(classes=VOC_CLASSES) -> Model:
    return Model(Red(), {**DESCRIPTION, "classes": list(classes)})


@pytest.fixture
def data(tmp_path):
    """Photos in VOC's layout; every column of pixels has the red of one class."""
    root = tmp_path / "VOC2012"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "few.txt").write_text("\n".join(NAMES) + "\n")
    for name, size, top in zip(NAMES, SIZES, (255, 255, 120), strict=True):
        photo(size, top).save(root / "JPEGImages" / f"{name}.jpg", quality=100, subsampling=0)
    # Not listed, so not packed.
    photo((8, 8)).save(root / "JPEGImages" / "2007_000032.jpg")
    return root


def photo(size: tuple[int, int], top: int = 255) -> Image.Image:
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, top, size[1]).astype(np.uint8)
    return Image.fromarray(pixels)


def read(path) -> dict[str, Image.Image]:
    with tarfile.open(path, "r:gz") as archive:
        found = {}
        for entry in archive:
            assert entry.isfile()
            assert (entry.mtime, entry.uid, entry.gid, entry.uname) == (0, 0, 0, "")
            with Image.open(archive.extractfile(entry)) as image:
                image.load()
                found[entry.name] = image
    return found


@pytest.mark.parametrize("competition", ["comp5", "comp6"])
def test_tree_and_masks_are_those_the_server_wants(data, tmp_path, competition):
    out = tmp_path / "few.tar.gz"
    result = voc_submission(model(), data, out, split="few", competition=competition)
    images = read(out)
    folder = f"results/VOC2012/Segmentation/{competition}_few_cls"
    assert list(images) == [f"{folder}/{name}.png" for name in sorted(NAMES)]
    seen = set()
    for name, (height, width) in zip(NAMES, SIZES, strict=True):
        image = images[f"{folder}/{name}.png"]
        assert (image.format, image.mode, image.size) == ("PNG", "P", (width, height))
        assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        assert image.getpalette()[3 * 20 : 3 * 21] == [0, 64, 128]
        values = np.asarray(image)
        # Class by class from left to right, as the photo's red rises.
        assert (np.diff(values.astype(int), axis=1) >= 0).mean() > 0.97
        seen |= set(np.unique(values).tolist())
    assert seen == set(range(21))
    assert result["photos"] == 3
    assert result["bytes"] == out.stat().st_size
    assert list(result["classes"]) == list(VOC_CLASSES)
    # The third photo is less red than class 10.
    assert [result["classes"][VOC_CLASSES[k - 1]] for k in (1, 8, 12, 20)] == [3, 3, 2, 2]


def test_command_packs_the_named_list(data, tmp_path, capsys):
    torch.manual_seed(0)
    net = Segmenter(
        Segment(network="FPN", encoder="tu-test_resnet", weights="none", stride=8, norm="frozen"),
        21,
    )
    made = {"network": "FPN", "encoder": "tu-test_resnet", "stride": 8, "norm": "frozen"}
    bundle, out = tmp_path / "model.safetensors", tmp_path / "few.tar.gz"
    save_bundle(bundle, net, {**DESCRIPTION, **made, "classes": list(VOC_CLASSES)})
    flags = ["--to", "voc-submission", "--device", "cpu", "--competition", "comp5", "--list", "few"]
    assert main(["export", str(bundle), str(out), *flags]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["export", str(bundle), str(out), *flags, "--data", str(data)]) == 0
    told = capsys.readouterr().out
    assert "3 photos" in told
    assert str(out) in told
    folder = "results/VOC2012/Segmentation/comp5_few_cls"
    assert list(read(out)) == [f"{folder}/{name}.png" for name in sorted(NAMES)]


def test_equal_masks_are_equal_archives_and_are_not_predicted_twice(data, tmp_path, monkeypatch):
    net = model()
    first, second = tmp_path / "few.tar.gz", tmp_path / "few.tgz"
    voc_submission(net, data, first, split="few")
    calls = net.segmenter.calls
    assert calls == 3
    monkeypatch.setattr("time.time", lambda: 2e9)
    voc_submission(net, data, second, split="few")
    assert net.segmenter.calls == calls
    assert first.read_bytes() == second.read_bytes()
    voc_submission(net, data, second, split="few", overwrite=True)
    assert net.segmenter.calls == 2 * calls
    assert first.read_bytes() == second.read_bytes()


def test_other_classes_are_refused_before_any_work(data, tmp_path):
    swapped = (*VOC_CLASSES[:18], VOC_CLASSES[19], VOC_CLASSES[18])
    for classes, words in (
        (("cat", "dog"), "other classes.*2: cat, dog"),
        (swapped, "another ord"),
    ):
        net = model(classes)
        with pytest.raises(InputError, match=words) as caught:
            voc_submission(net, data, tmp_path / "few.tar.gz", split="few")
        assert "\n" not in str(caught.value)
        assert net.segmenter.calls == 0
    assert [path.name for path in tmp_path.iterdir()] == ["VOC2012"]


@pytest.mark.parametrize(
    ("line", "out", "words"),
    [
        ("", "few.zip", r"NAME\.tar\.gz"),
        ("", ".tar.gz", r"NAME\.tar\.gz"),
        ("", "VOC2012", r"NAME\.tar\.gz"),
        ("2012_999999", "few.tar.gz", "no photo .*2012_999999"),
        ("../secret", "few.tar.gz", "no photo"),
        (NAMES[0], "few.tar.gz", "is on two lines"),
    ],
)
def test_wrong_names_are_refused_before_any_work(data, tmp_path, line, out, words):
    photo((8, 8)).save(data / "secret.jpg")
    with (data / "ImageSets" / "Segmentation" / "few.txt").open("a") as stream:
        stream.write(line)
    net = model()
    with pytest.raises(InputError, match=words):
        voc_submission(net, data, tmp_path / out, split="few")
    assert net.segmenter.calls == 0
    assert [path.name for path in tmp_path.iterdir()] == ["VOC2012"]


def test_missing_list_names_those_that_are_there(data, tmp_path):
    with pytest.raises(InputError, match=r"test\.txt: no such list \(there are: few\)"):
        voc_submission(model(), data, tmp_path / "few.tar.gz")
    with pytest.raises(ValueError, match="comp5 or comp6"):
        voc_submission(model(), data, tmp_path / "few.tar.gz", competition="comp3")


def test_a_test_list_of_another_length_is_told(data, tmp_path, caplog):
    lists = data / "ImageSets" / "Segmentation"
    (lists / "few.txt").rename(lists / "test.txt")
    with caplog.at_level(logging.WARNING, "esol"):
        voc_submission(model(), data, tmp_path / "test.tar.gz")
    assert "3 photos, where VOC 2012 has 1456" in caplog.text


def grey(path):
    Image.fromarray(np.zeros(SIZES[0], np.uint8)).save(path)


def other_colours(path):
    image = Image.fromarray(np.zeros(SIZES[0], np.uint8))
    image.putpalette(palette()[::-1].tobytes())
    image.save(path)


def unsure(path):
    save_mask(np.full(SIZES[0], 255, np.uint8), path)


def too_high(path):
    save_mask(np.full(SIZES[0], 21, np.uint8), path)


def turned(path):
    save_mask(np.zeros(SIZES[0][::-1], np.uint8), path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (grey, "palette"),
        (other_colours, "colours"),
        (unsure, "value 255"),
        (too_high, "value 21"),
        (turned, "size"),
        (lambda path: path.write_bytes(b"no image"), "image"),
    ],
    ids=["grey", "colours", "255", "21", "size", "damaged"],
)
def test_masks_that_the_server_refuses_are_never_packed(data, tmp_path, spoil, words):
    out = tmp_path / "few.tar.gz"
    voc_submission(model(), data, out, split="few")
    before = out.read_bytes()
    spoil(tmp_path / "few-masks" / f"{NAMES[0]}.png")
    with pytest.raises(InputError, match=f"{NAMES[0]}.*{words}") as caught:
        voc_submission(model(), data, out, split="few")
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == before
    (tmp_path / "few-masks" / f"{NAMES[0]}.png").unlink()
    voc_submission(model(), data, out, split="few")
    assert out.read_bytes() == before
