"""Model files, the testing protocol, tiles, folders of photos."""

import io
import itertools
import json
import os
import shutil
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from esol.data.images import load_image, load_mask, palette
from esol.data.normalisation import IMAGENET
from esol.data.transforms import to_tensor
from esol.errors import InputError
from esol.networks.segmenter import Segmenter
from esol.ops.grids import stretched
from esol.predict.bundle import KEY, VERSION, load_bundle, redescribe, save_bundle
from esol.predict.folder import photos_by_name
from esol.predict.model import Model, load
from esol.predict.overlay import draw_overlay
from esol.predict.tiles import labelled, spans, weights
from esol.runs.folder import RunFolder
from esol.runs.work import work_on
from esol.settings import Segment

NO_CRF = {"iterations": 0}
DESCRIPTION = {
    "classes": ["red", "green"],
    "network": "Unet",
    "encoder": "tu-test_resnet",
    "stride": 8,
    "norm": "frozen",
    "resize": "crop",
    "size": 64,
    "longest": 80,
    "scales": [1.0],
    "flip": False,
    "crf": NO_CRF,
}


class Colours(nn.Module):
    """Background where it is dark, else red or green; sees its neighbours if asked."""

    def __init__(self, reach: int = 0, shift: int = 0) -> None:
        super().__init__()
        self.reach, self.shift = reach, shift
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(images.shape))
        if self.reach:
            images = F.avg_pool2d(images, 2 * self.reach + 1, 1, self.reach)
        if self.shift:
            images = images.roll(self.shift, 3)
        red, green, _ = images.unbind(1)
        return torch.stack([torch.full_like(red, 0.5), red, green], 1) * 4


def model(net: nn.Module | None = None, tile: int = 1024, **changes) -> Model:
    return Model(net or Colours(), {**DESCRIPTION, **changes}, tile=tile)


def photo(width: int = 80, height: int = 60, left: str = "red", right: str = "lime") -> Image.Image:
    image = Image.new("RGB", (width, height))
    image.paste(left, (0, 0, width // 2, height // 2))
    image.paste(right, (width // 2, 0, width, height // 2))
    return image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    net = Segmenter(
        Segment(network="Unet", encoder="tu-test_resnet", weights="none", stride=8, norm="frozen"),
        3,
    )
    path = tmp_path_factory.mktemp("run") / "08-segment" / "model.safetensors"
    save_bundle(path, net, {**DESCRIPTION, "numbers": {"miou": 0.5}, "initial_weights": "none"})
    return path, net.eval()


def test_model_file_comes_back_whole(bundle, tmp_path):
    path, net = bundle
    again, description = load_bundle(path)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    images = torch.randn(1, 3, 40, 50)
    assert torch.equal(again(images), net(images))
    assert description == {**DESCRIPTION, "numbers": {"miou": 0.5}, "initial_weights": "none"}
    twice = tmp_path / "twice.safetensors"
    save_bundle(twice, again, description)
    assert twice.read_bytes() == path.read_bytes()


def test_description_must_go_with_the_network(bundle, tmp_path):
    _, net = bundle
    with pytest.raises(ValueError, match="1 classes for 3 labels"):
        save_bundle(tmp_path / "x.safetensors", net, {**DESCRIPTION, "classes": ["red"]})
    lacking = {k: v for k, v in DESCRIPTION.items() if k != "longest"}
    with pytest.raises(ValueError, match="longest is missing"):
        save_bundle(tmp_path / "x.safetensors", net, lacking)
    assert not list(tmp_path.iterdir())


def rewritten(source, target, **changes):
    with safe_open(source, "pt") as stored:
        metadata = {**json.loads(stored.metadata()[KEY]), **changes}
    save_file(load_file(source), target, {KEY: json.dumps(metadata)})
    return target


def test_files_that_are_no_models_are_named(bundle, tmp_path):
    path, _ = bundle
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"bad\.safetensors: damaged"):
        load(bad)
    save_file({"x": torch.zeros(1)}, bad, {KEY: "[1, "})
    with pytest.raises(InputError, match="damaged description"):
        load(bad)
    save_file({"x": torch.zeros(1)}, bad)
    with pytest.raises(InputError, match="not a segmentation model"):
        load(bad)
    for changes, message in (
        ({"version": VERSION + 1}, "newer esol.*upgrade"),
        ({"version": "?"}, "damaged description"),
        ({"scales": 1}, "damaged description"),
        ({"scales": []}, "scales"),
        ({"crf": {"size": 3}}, "damaged description"),
        ({"classes": ["red"]}, "do not fit its network"),
        ({"encoder": "hf-hub:some/where"}, "no such encoder"),
    ):
        with pytest.raises(InputError, match=message):
            load(rewritten(path, bad, **changes))


def test_load_takes_a_run_folder_too(bundle, tmp_path):
    path, _ = bundle
    assert load(path.parent.parent, "cpu").classes == load(path, "cpu").classes == ("red", "green")
    with pytest.raises(InputError, match="not the folder of a run"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "model.safetensors")


def test_a_network_that_its_run_no_longer_has_is_told(bundle, tmp_path, caplog):
    run = shutil.copytree(bundle[0].parent.parent, tmp_path / "run")
    for network, told in (("FPN", False), ("none", True)):
        (run / "settings.yaml").write_text(f"segment: {{network: {network}}}\n")
        caplog.clear()
        load(run, "cpu")
        assert ("segment.network: none now" in caplog.text) == told


def test_a_network_older_than_its_runs_masks_is_told(bundle, tmp_path, caplog):
    def stage(name, text, *before):
        after = {earlier: RunFolder(tmp_path).outputs_of(earlier) for earlier in before}
        with work_on(RunFolder(tmp_path), name, {"after": after}, overwrite=True) as made:
            if made is not None:
                (made.path / "out.txt").write_text(text)
                if name == "segment":
                    shutil.copy(bundle[0], made.path)

    def warned():
        return ["older than the masks" in r.getMessage() for r in caplog.records].count(True)

    stage("masks", "one")
    stage("segment", "", "masks")
    assert load(tmp_path, "cpu").classes == ("red", "green")
    assert not warned()
    (RunFolder(tmp_path).stage("masks") / "out.txt").unlink()
    stage("masks", "other")
    load(RunFolder(tmp_path).stage("segment") / "model.safetensors", "cpu")
    assert not warned()
    load(tmp_path, "cpu")
    assert warned() == 1


def test_description_is_replaced_and_the_weights_stay(bundle, tmp_path):
    path = Path(shutil.copy(bundle[0], tmp_path))
    before = path.stat().st_ino
    description = load_bundle(path)[1]
    redescribe(path, {**description, "scales": (1,)})
    assert path.stat().st_ino == before
    redescribe(path, {**description, "scales": (1, 2), "network": "FPN"})
    again, found = load_bundle(path)
    assert found == {**description, "scales": [1, 2]}
    expected = load_bundle(bundle[0])[0].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in again.state_dict().items())


def test_mask_classes_and_scores():
    image = photo()
    found = model().predict(image)
    assert np.array_equal(model().mask(image), found.mask)
    assert found.mask.dtype == np.uint8
    assert found.scores.dtype == np.float32
    assert found.mask[0, 0] == 1
    assert found.mask[0, -1] == 2
    assert found.mask[-1, 0] == 0
    assert found.classes == ("red", "green")
    assert found.scores.shape == (3, 60, 80)
    assert np.allclose(found.scores.sum(0), 1, atol=1e-6)
    assert np.array_equal(found.scores.argmax(0), found.mask)
    expected = Colours()(to_tensor(image, IMAGENET)[None]).softmax(1)[0].numpy()
    assert np.allclose(found.scores, expected, atol=1e-6)


def test_classes_are_ordered_by_pixels():
    image = photo()
    image.paste("lime", (0, 0, 30, 30))
    assert model().predict(image).classes == ("green", "red")
    assert model().predict(Image.new("RGB", (40, 40))).classes == ()


def test_photo_may_be_held_in_any_form(tmp_path):
    image, path = photo(), tmp_path / "a.png"
    image.save(path)
    net, expected = model(), model().predict(image)
    forms = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), np.array(image)]
    with path.open("rb") as file:
        found = net.predict(iter([*forms, file]))
    assert len(found) == 6
    for one in [*found, net.predict(bytearray(path.read_bytes())), net.predict(forms[-1])]:
        assert np.array_equal(one.scores, expected.scores)
        assert np.array_equal(one.photo, image)
    assert net.predict([]) == []
    assert len(net.predict(tmp_path.glob("*.png"))) == 1
    grey = np.array(image.convert("L"))
    assert np.array_equal(net.predict(grey).photo, image.convert("L").convert("RGB"))


@pytest.mark.parametrize("kind", ["turned", "16 bits", "transparent", "palette"])
def test_a_pillow_image_is_read_as_its_file(kind, tmp_path):
    path, exif = tmp_path / "a.png", Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.array(photo().convert("L")).astype(np.uint16) * 257)
    clear = photo().convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    images = {"turned": photo(), "16 bits": deep, "transparent": clear}
    images["palette"] = photo().quantize(3)
    images[kind].save(path, **({"exif": exif} if kind == "turned" else {}))
    found = model().predict(path)
    with Image.open(path) as image:
        given, content = model().predict([image, path.read_bytes()])
    for one in (given, content):
        assert np.array_equal(one.photo, found.photo)
        assert np.array_equal(one.mask, found.mask)
    assert found.mask.shape == ((80, 60) if kind == "turned" else (60, 80))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), r"^photo: numpy.ndarray \(4, 4, 3\) float32 is not a"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\) uint8.*\(H, W, 3\) RGB or \(H, W\) grey"),
        (
            torch.zeros(3, 4, 4),
            r"torch.Tensor \(3, 4, 4\) torch.float32 is not a photo: give a path",
        ),
        (None, "NoneType is not a photo"),
        (7, "int is not a photo"),
        ({"a": "a.png"}, "dict is not a photo"),
        (io.StringIO("a"), "str is not a photo.*opened with 'rb'"),
        (b"", "^photo: empty file"),
        (b"GIF89", "^photo: not an image of a known format"),
        ([np.zeros((4, 4), np.uint8), b"no"], r"^photos\[1\]: not an image"),
        ([[b""]], r"^photos\[0\]: list is not a photo"),
        (Image.new("RGB", (0, 4)), "^photo: has no pixels"),
        (Image.new("F", (4, 4)), "^photo: floating-point pixels"),
        ("b.png", r"^b\.png: no such file"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_in_one_line(given, said):
    with pytest.raises(InputError, match=said):
        model().predict(given)


def test_threads_may_share_a_model(tmp_path):
    paths = []
    for index in range(6):
        paths.append(tmp_path / f"{index}.png")
        noise(80, 64, index).save(paths[-1])
    torch.manual_seed(0)
    net = model(
        Segmenter(Segment(network="FPN", encoder="tu-test_resnet", weights="none"), 3),
        flip=True,
        crf={"iterations": 2},
    )
    alone = [net.predict(path).scores for path in paths]
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: net.predict(path).scores, paths * 3))
    assert all(map(np.array_equal, together, alone * 3))
    assert len({one.tobytes() for one in alone}) == 6
    assert list(warnings.filters) == filters


def test_a_prediction_is_short_to_read_and_goes_into_a_file(tmp_path):
    found = model().predict(photo())
    assert repr(found) == "Prediction(80 x 60 pixels: red 25.0 %, green 25.0 %)"
    assert "background only" in repr(model().predict(Image.new("RGB", (40, 40))))
    assert repr(model()) == "Model(Unet with tu-test_resnet, 2 classes: red, green; on cpu)"
    found.save(str(tmp_path / "a.png"))
    assert np.array_equal(load_mask(tmp_path / "a.png"), found.mask)
    with Image.open(tmp_path / "a.png") as image:
        assert json.loads(image.text["classes"]) == ["background", "red", "green"]
    assert np.array_equal(found.overlay(), draw_overlay(photo(), found.mask, found.names[1:]))
    with pytest.raises(InputError, match=r"b\.jpg: a mask is saved as PNG"):
        found.save(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("changes", "longest", "size"),
    [
        ({}, None, (80, 40)),
        ({}, 200, (200, 100)),
        ({"resize": "squash"}, None, (64, 64)),
        ({"resize": "squash"}, 96, (96, 96)),
        ({"scales": [0.5]}, None, (40, 20)),
    ],
)
def test_working_size(changes, longest, size):
    net = Colours()
    found = model(net, **changes).predict(photo(400, 200), longest=longest)
    height, width = net.seen[0][2:]
    assert (width, height) == (max(32, size[0]), max(32, size[1]))
    assert found.mask.shape == (200, 400)
    assert found.mask[0, 0] == 1


def test_longest_out_of_range():
    with pytest.raises(InputError, match="at least 32"):
        model().predict(photo(), longest=8)


def test_scales_and_mirror_are_averaged_as_probabilities():
    image, net = noise(80, 64), Colours(reach=2, shift=3)
    views = []
    for scale in (1.0, 0.5, 1.5):
        size = (round(80 * scale), round(64 * scale))
        resized = image if scale == 1 else image.resize(size, Image.Resampling.BICUBIC)
        tensor = to_tensor(resized, IMAGENET)[None]
        both = [net(tensor).softmax(1), net(tensor.flip(3)).softmax(1).flip(3)]
        for view in both:
            views.append(F.interpolate(view, (64, 80), mode="bilinear", align_corners=False))
    expected = torch.stack(views).mean(0)[0].numpy()
    found = model(net, scales=[1.0, 0.5, 1.5], flip=True).predict(image)
    assert np.allclose(found.scores, expected, atol=1e-5)
    assert not np.allclose(model(net, flip=True).predict(image).scores, expected, atol=1e-2)


def test_last_step_is_bilinear_in_any_number_of_bands():
    values = torch.rand(1, 3, 37, 41, generator=torch.Generator().manual_seed(0))
    for size in ((300, 170), (20, 30), (37, 41)):
        expected = F.interpolate(values, size, mode="bilinear", align_corners=False)
        bands = list(stretched(values, size))
        assert len(bands) == -(-size[0] // 128)
        # Torch finds its places with 32 bits: 900 random cases differed by up to 2.3e-6.
        assert torch.allclose(torch.cat([band for _, band in bands], 2), expected, atol=1e-5)
        mask, scores = labelled(values, size, with_scores=True)
        assert np.allclose(scores, expected[0], atol=1e-5)
        assert (mask == scores.argmax(0)).all()


@pytest.mark.parametrize("length", [100, 256, 257, 480, 1000, 1023])
@pytest.mark.parametrize("tile", [256, 320])
def test_tiles_cover_a_side_and_their_weights_sum_to_one(length, tile):
    tiles = spans(length, tile)
    assert tiles[0][0] == 0
    assert tiles[-1][1] == length
    total = torch.zeros(length)
    for (begin, end), weight in zip(tiles, weights(tiles), strict=True):
        assert 0 < end - begin <= tile
        assert begin % 32 == 0
        total[begin:end] += weight
    assert torch.allclose(total, torch.ones(length))
    for (_, end), (begin, _) in itertools.pairwise(tiles):
        assert end - begin >= tile // 8


@pytest.mark.parametrize("reach", [4, 12])
def test_tiles_equal_the_whole_and_leave_no_seams(reach):
    image = noise(600, 330)
    whole = model(Colours(reach), longest=600, flip=True).predict(image).scores
    net = Colours(reach)
    tiled = model(net, longest=600, flip=True, tile=256).predict(image).scores
    assert max(max(shape[2:]) for shape in net.seen) <= 256
    assert len(net.seen) > 8
    difference = np.abs(tiled - whole)
    # Within the margin that weighs nothing there is no difference at all; beyond it little.
    assert difference.max() < (1e-5 if reach <= 8 else 0.05)
    step = np.abs(np.diff(difference, axis=2)).max()
    assert step < (1e-5 if reach <= 8 else 0.02)


def test_crf_moves_edges_of_present_classes_only():
    pytest.importorskip("esol.ops.crf")
    image = photo()
    blurred = Colours(reach=4)
    crf = {"iterations": 0, "bilateral_size": 20.0, "bilateral_weight": 6.0}
    plain, refined = (model(blurred, crf=crf).predict(image, crf=on) for on in (None, True))
    truth = model().predict(image).mask
    assert (refined.mask != truth).sum() < 0.5 * (plain.mask != truth).sum()
    assert refined.scores.shape == plain.scores.shape
    assert np.allclose(refined.scores.sum(0), 1, atol=1e-4)
    red = Image.new("RGB", (60, 60))
    red.paste("red", (0, 0, 30, 30))
    found = model(crf={**crf, "iterations": 2}).predict(red)
    assert found.classes == ("red",)
    assert 0 < model(crf=crf).predict(red).scores[2].max() < 0.05
    assert found.scores[2].max() == 0


def test_crf_of_a_large_photo_runs_at_the_limit(monkeypatch):
    pytest.importorskip("esol.ops.crf")
    monkeypatch.setattr("esol.predict.model.CRF_LONGEST", 100)
    net = model(Colours(reach=2), crf={"iterations": 2})
    image = photo(300, 200)
    assert net.refined(net.probabilities([image]), image).shape == (1, 3, 67, 100)
    assert net.refined(net.probabilities([image]), image, crf=False).shape == (1, 3, 53, 80)
    monkeypatch.setattr("esol.predict.model.CRF_MOST", 90)
    assert net.refined(net.probabilities([image], 240), image).shape == (1, 3, 60, 90)
    assert net.predict(image).mask.shape == (200, 300)


def write_photos(folder, *names):
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(80 + 8 * (index % 2), 60, "red" if index % 2 else "lime").save(path)


def test_a_photo_put_in_the_place_of_another_is_predicted_again(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_photos(photos, "a.png", "b.png")
    model().predict_folder([photos], out)
    photo(40, 30).save(photos / "a.png")
    later = (out / "a.png").stat().st_mtime_ns + 1_000_000_000
    os.utime(photos / "a.png", ns=(later, later))
    assert model().predict_folder([photos], out)["skipped"] == 1
    assert load_mask(out / "a.png").shape == (30, 40)


def test_photos_without_any_class_are_counted(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    photo().save(photos / "a.png")
    photo(left="black", right="black").save(photos / "b.png")
    photo(left="black", right="black").save(photos / "c.png")
    found = model().predict_folder([photos], out)
    assert (found["classes"], found["empty"]) == ({"red": 1, "green": 1}, 2)
    assert model().predict_folder([photos], out)["empty"] == 0


def test_folder_keeps_names_and_skips_what_is_done(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_photos(photos, "a.png", "deep/b.c.jpg", "deep/d.png", ".hidden.png")
    net = Colours()
    made = model(net).predict_folder([photos], out, soft=True, overlay=True)
    assert (made["photos"], made["predicted"], made["skipped"]) == (3, 3, 0)
    assert made["classes"] == {"red": 1, "green": 3}
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    names = ("a", "deep/b.c", "deep/d")
    assert files == {
        "classes.json",
        *(f"{name}.png" for name in names),
        *(f"soft/{name}.npz" for name in names),
        *(f"overlays/{name}.jpg" for name in names),
    }
    expected = model().predict(photos / "a.png")
    assert np.array_equal(load_mask(out / "a.png"), expected.mask)
    with np.load(out / "soft/a.npz", allow_pickle=False) as stored:
        assert stored["classes"].tolist() == ["background", "red", "green"]
        assert stored["size"].tolist() == [60, 80]
        assert np.abs(stored["probabilities"] / 255 - expected.scores).max() <= 0.5 / 255 + 1e-6
    with Image.open(out / "overlays/a.jpg") as overlay, Image.open(photos / "a.png") as photo:
        assert overlay.width == photo.width
        assert overlay.height > photo.height
    described = json.loads((out / "classes.json").read_text())["classes"]
    assert described[2] == {"value": 2, "name": "green", "colour": palette()[2].tolist()}
    net.seen.clear()
    (out / "deep/d.png").unlink()
    again = model(net).predict_folder([photos], out, soft=True, overlay=True)
    # With its companion of the same size: a batch is done again as a whole.
    assert (again["predicted"], again["skipped"], len(net.seen)) == (2, 1, 1)
    assert model().predict_folder([photos], out, overwrite=True)["predicted"] == 3


def test_photos_of_one_working_size_go_together(tmp_path):
    write_photos(tmp_path / "in", *(f"{i}.png" for i in range(5)))
    net = Colours()
    together = tmp_path / "together"
    model(net).predict_folder([tmp_path / "in"], together, batch=2)
    assert sorted(shape[0] for shape in net.seen) == [1, 2, 2]
    model().predict_folder([tmp_path / "in"], tmp_path / "alone", batch=1)
    for i in range(5):
        one, other = (load_mask(tmp_path / folder / f"{i}.png") for folder in ("together", "alone"))
        assert np.array_equal(one, other)


def test_large_photos_do_not_go_together(tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", "a.png", "b.png", "c.png", "d.png", "e.png")
    monkeypatch.setattr("esol.data.batch.TOGETHER", 2 * 88 * 60)
    net = Colours()
    found = model(net, longest=40, resize="squash").predict_folder(
        [tmp_path / "photos"], tmp_path / "out"
    )
    assert found["predicted"] == 5
    # Two of 80 or 88 x 60 pixels fit, three do not.
    assert [shape[0] for shape in net.seen] == [2, 2, 1]


def test_a_photo_is_given_back_before_the_next_is_read(tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", "a.png", "b.png", "c.png")
    read = []

    def reading(path):
        assert [photo for photo in read if photo() is not None] == []
        image = load_image(path)
        read.append(weakref.ref(image))
        return image

    monkeypatch.setattr("esol.predict.folder.load_image", reading)
    model().predict_folder([tmp_path / "photos"], tmp_path / "out", batch=1, overlay=True)
    assert len(read) == 3


def test_no_photo_is_searched_for_among_all_others(tmp_path, monkeypatch):
    """With 20,000 photos that took longer than the network."""
    write_photos(tmp_path / "photos", *(f"{number}.png" for number in range(40)))
    compared = []
    monkeypatch.setattr(
        "esol.predict.folder._Task.__eq__", lambda one, other: compared.append(one) or one is other
    )
    assert model().predict_folder([tmp_path / "photos"], tmp_path / "out")["predicted"] == 40
    assert len(compared) <= 40


def test_an_overlay_is_the_same_in_bands(monkeypatch):
    image, rng = noise(80, 64), np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, 255], (64, 80)).astype(np.uint8)
    whole = np.asarray(draw_overlay(image, mask))
    monkeypatch.setattr("esol.ops.cells.BAND", 7)
    assert np.array_equal(draw_overlay(image, mask), whole)
    plain, kept = np.asarray(image), ((mask == 0) | (mask == 255))
    assert np.array_equal(whole[kept], plain[kept])
    tinted = (plain[~kept].astype(int) + palette()[mask[~kept]]) // 2
    assert np.abs(whole[~kept].astype(int) - tinted).max() <= 1


@pytest.mark.parametrize("size", [(64, 48), (900, 60), (40, 700), (2000, 1500)])
def test_a_legend_below_the_photo_names_what_is_in_it(size):
    photo, mask = Image.new("RGB", size, (90, 90, 90)), np.zeros(size[::-1], np.uint8)
    classes = ["dog", "cat", "größe 犬", "a class with a name that is longer than a photo " * 3]
    plain = draw_overlay(photo, mask, classes)
    mask[: size[1] // 4] = 3
    mask[-4:], mask[:4] = 4, 255
    picture = draw_overlay(photo, mask, classes)
    assert picture.width == size[0]
    bare = draw_overlay(photo, mask)
    assert bare.size == size
    assert np.array_equal(np.asarray(picture)[: size[1]], bare)
    strip = np.asarray(picture)[size[1] :]
    assert len(strip) >= max(24, 0.04 * max(size))
    colours = {tuple(colour) for colour in strip.reshape(-1, 3).tolist()}
    expected = {value: tuple(palette()[value].tolist()) in colours for value in range(1, 5)}
    assert expected == {1: False, 2: False, 3: True, 4: True}
    frame = [strip[:, 0], strip[:, -1], strip[0], strip[-1]]
    assert all((line == 255).all() for line in frame), "an entry is cut"
    assert (np.asarray(plain)[size[1] :] < 128).any(), "nothing says that there is no class"


def test_files_and_patterns(tmp_path):
    write_photos(tmp_path, "in/x/a.png", "in/x/note.gif", "in/y/a.png", "single.png")
    (tmp_path / "in/x/readme.txt").write_text("no photo")
    made = model().predict_folder(
        [f"{tmp_path}/in/**/a*", tmp_path / "single.png"], tmp_path / "out"
    )
    assert made["photos"] == 3
    assert (tmp_path / "out/x/a.png").is_file()
    assert (tmp_path / "out/y/a.png").is_file()
    assert (tmp_path / "out/single.png").is_file()


def test_results_inside_the_photo_folder_are_not_taken_for_photos(tmp_path):
    write_photos(tmp_path, "a.png")
    for _ in range(2):
        assert model().predict_folder([tmp_path], tmp_path / "masks")["photos"] == 1


@pytest.mark.parametrize("images", ["new", "new/*", "new/**/*.png", "new/a.png"])
def test_results_above_the_photos(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(Path("new"), "a.png")
    for expected, options in ((1, {}), (0, {}), (1, {"longest": 64, "overwrite": True})):
        made = model().predict_folder(images, ".", soft=True, overlay=True, **options)
        assert (made["photos"], made["predicted"]) == (1, expected)
    written = {path.as_posix() for path in Path().rglob("*") if path.is_file()}
    assert written == {"new/a.png", "a.png", "soft/a.npz", "overlays/a.jpg", "classes.json"}


@pytest.mark.parametrize("images", ["new", "*/*.png", "new/*/*.png", "overlays", "./*/a.jpg"])
def test_results_among_the_photos_below_them_are_refused(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path, "new/new/a.png", "overlays/a.jpg")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"^\.: .*among the photos|would replace this photo"):
        model().predict_folder(images, ".", overlay=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_forgotten_folder_for_the_results_is_said(tmp_path):
    write_photos(tmp_path, "a.png", "b.png")
    with pytest.raises(InputError, match=r"b\.png: a file, but a folder for the masks is needed"):
        model().predict_folder([tmp_path / "a.png"], tmp_path / "b.png")


def test_mistakes_are_told_before_anything_is_written(tmp_path):
    write_photos(tmp_path, "one/a.png", "two/a.png", "one/b.jpg", "three/b.png", "three/b.jpg")
    out = tmp_path / "out"
    cases = {
        r"two/a\.png would both become a\.png": [tmp_path / "one", tmp_path / "two"],
        r"would both become b\.png": [tmp_path / "three"],
        "no such file or folder": [tmp_path / "four"],
        r"no photos in it": [f"{tmp_path}/*.webp"],
        "no photos given": [],
    }
    for message, images in cases.items():
        with pytest.raises(InputError, match=message):
            model().predict_folder(images, out)
    with pytest.raises(InputError, match="would replace this photo"):
        model().predict_folder([tmp_path / "one/a.png"], tmp_path / "one")
    with pytest.raises(InputError, match="among the photos"):
        model().predict_folder([tmp_path / "one"], tmp_path / "one")
    with pytest.raises(InputError, match="batch"):
        model().predict_folder([tmp_path / "one"], out, batch=0)
    assert not out.exists()
    assert not (tmp_path / "one" / "classes.json").exists()


def test_masks_of_other_settings_are_not_mixed(tmp_path):
    write_photos(tmp_path, "in/a.png")
    model().predict_folder([tmp_path / "in"], tmp_path / "out")
    for changed, options in ((model(), {"longest": 64}), (model(classes=["x", "y"]), {})):
        with pytest.raises(InputError, match="another model or of other settings"):
            changed.predict_folder([tmp_path / "in"], tmp_path / "out", **options)
    model().predict_folder([tmp_path / "in"], tmp_path / "out", longest=64, overwrite=True)


def test_unreadable_photos_are_told_at_the_end(tmp_path):
    write_photos(tmp_path, "a.png", "c.png")
    (tmp_path / "b.jpg").write_bytes(b"not a photo")
    whole = (tmp_path / "c.png").read_bytes()
    (tmp_path / "d.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"^2 of 4 photos could not be read.*b\.jpg"):
        model().predict_folder([tmp_path], tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "c.png", "classes.json"]


def test_masks_of_two_models_are_never_mixed(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_photos(photos, "a.png", "b.png")
    model().predict_folder([photos], out, soft=True)
    other = model(longest=64)
    with pytest.raises(InputError, match="another model or of other settings"):
        other.predict_folder([photos], out)
    with pytest.raises(InputError, match=r"b\.png: a mask of another model.*all photos"):
        other.predict_folder([photos / "a.png"], out, overwrite=True)
    assert model().predict_folder([photos], out, soft=True)["skipped"] == 2
    assert other.predict_folder([photos], out, soft=True, overwrite=True)["predicted"] == 2
    assert other.predict_folder([photos], out, soft=True)["skipped"] == 2


def test_a_refused_call_leaves_nothing(tmp_path):
    write_photos(tmp_path / "photos", "a.png")
    with pytest.raises(InputError, match="longest = 10"):
        model().predict_folder([tmp_path / "photos"], tmp_path / "out", longest=10)
    with pytest.raises(InputError, match="longest = 0"):
        model().predict_folder([tmp_path / "photos"], str(tmp_path / "out"), longest=0)
    assert not (tmp_path / "out").exists()
    assert model().predict_folder([tmp_path / "photos"], tmp_path / "out")["predicted"] == 1


def test_masks_of_earlier_calls_are_never_taken_for_photos(tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos, "a.png", "deep/b.jpg")
    with pytest.raises(InputError, match="among the photos"):
        model().predict_folder([photos / "deep/b.jpg"], photos / "deep")
    # A file of that name which is not ours hides nothing.
    (photos / "classes.json").write_text('{"classes": ["cat"]}')
    for images in ([photos], [f"{photos}/**/*.*g"]):
        assert model().predict_folder(images, photos / "out", overlay=True)["photos"] == 2
        assert model().predict_folder(images, tmp_path / "elsewhere")["photos"] == 2


def test_files_that_are_not_read_are_counted(tmp_path, caplog):
    folder, out = tmp_path / "photos", tmp_path / "photos" / "masks"
    for name in ("a.mov", "sub/b.MOV", "masks/c.mov", ".hidden.mov"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    line = "2 files are not read as photos (2 .mov): save as JPEG or PNG"
    with pytest.raises(InputError, match="no photos in it") as caught:
        photos_by_name([folder], out)
    assert str(caught.value).endswith(f"; {line}")
    Image.new("RGB", (4, 4)).save(folder / "d.jpg")
    assert list(photos_by_name([folder], out)) == ["d"]
    assert caplog.messages == [f"{folder}: {line}"]
