"""Dense CRF against pydensecrf, against a plain lattice and against the kernel written out."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from esol.ops import crf, lattice
from esol.ops.crf import dense_crf, unary_from_labels, unary_from_probabilities

SETS = {  # spatial, bilateral, from labels
    "irn": ((3, 3), (50, 5, 10), True),
    "psa": ((3, 3), (80, 13, 10), False),
    "deeplab": ((1, 3), (67, 3, 4), False),
}


def scores(labels: int, height: int, width: int) -> torch.Tensor:
    """Smooth random probabilities (L, H, W), unsure in places."""
    generator = torch.Generator().manual_seed(labels)
    coarse = torch.randn(1, labels, height // 32 + 2, width // 32 + 2, generator=generator)
    return F.interpolate(3 * coarse, (height, width), mode="bilinear")[0].softmax(0)


def energies(name: str, labels: int, height: int, width: int) -> torch.Tensor:
    result = scores(labels, height, width)
    if SETS[name][2]:
        return unary_from_labels(result.argmax(0), labels, 0.7)
    return unary_from_probabilities(result)


def drawn(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Discs of plain colours with noise, (H, W, 3) uint8."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.full((height, width, 3), 90.0)
    for _ in range(6):
        cy, cx, radius = torch.rand(3, generator=generator).tolist()
        inside = (y - cy * height) ** 2 + (x - cx * width) ** 2 < (radius * height / 2) ** 2
        picture[inside] = 255 * torch.rand(3, generator=generator)
    noisy = picture + 6 * torch.randn(height, width, 3, generator=generator)
    return noisy.clamp(0, 255).to(torch.uint8)


def peer(unary, image, spatial, bilateral, iterations=10):
    """What pydensecrf makes of it."""
    densecrf = pytest.importorskip("pydensecrf.densecrf")
    labels, height, width = unary.shape
    model = densecrf.DenseCRF2D(width, height, labels)
    model.setUnaryEnergy(unary.numpy().reshape(labels, -1).copy())
    model.addPairwiseGaussian(sxy=spatial[0], compat=spatial[1])
    model.addPairwiseBilateral(
        sxy=bilateral[0], srgb=bilateral[1], rgbim=image.numpy().copy(), compat=bilateral[2]
    )
    return torch.from_numpy(np.array(model.inference(iterations))).view(unary.shape)


def assert_like_peer(image, name, labels):
    spatial, bilateral, _ = SETS[name]
    unary = energies(name, labels, *image.shape[:2])
    theirs = peer(unary, image, spatial, bilateral)
    ours = dense_crf(unary, image, spatial=spatial, bilateral=bilateral)
    assert (ours.argmax(0) == theirs.argmax(0)).float().mean() >= 0.9995
    assert (ours - theirs).abs().max() < 0.02
    assert (ours - theirs).abs().flatten().kthvalue(int(0.999 * ours.numel())).values < 1e-3


@pytest.mark.parametrize("labels", [2, 4, 21])
@pytest.mark.parametrize("name", SETS)
def test_real_photos_as_pydensecrf(shared, name, labels):
    folder = shared / "data" / "voc-animals" / "JPEGImages"
    paths = sorted(folder.glob("*.jpg"))[3:300:150]
    if not paths:
        pytest.skip(f"no photos in {folder}")
    for path in paths:
        with Image.open(path) as photo:
            image = torch.from_numpy(np.array(photo.convert("RGB")))
        assert_like_peer(image, name, labels)


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize("name", SETS)
def test_drawn_picture_as_pydensecrf(name, labels):
    assert_like_peer(drawn(120, 161), name, labels)


def test_label_energies_as_pydensecrf():
    utils = pytest.importorskip("pydensecrf.utils")
    labels = torch.randint(0, 5, (6, 7), generator=torch.Generator().manual_seed(0))
    theirs = utils.unary_from_labels(labels.numpy(), 5, 0.7, zero_unsure=False)
    torch.testing.assert_close(
        unary_from_labels(labels, 5, 0.7), torch.from_numpy(theirs).view(5, 6, 7)
    )


def corners_of(feature: list[float]) -> list[tuple[tuple[int, ...], float]]:
    """Vertices around one point and their weights, after Adams et al., one number at a time."""
    axes = len(feature) + 1
    scaled = [
        value * math.sqrt(2 / 3) * axes / math.sqrt((k + 1) * (k + 2))
        for k, value in enumerate(feature)
    ]
    plane = [sum(scaled[i:]) - (i * scaled[i - 1] if i else 0) for i in range(axes)]
    zero = [axes * round(value / axes) for value in plane]
    excess = sum(zero) // axes
    order = sorted(range(axes), key=lambda i: zero[i] - plane[i])  # the largest rest first
    for i in order[-excess:] if excess > 0 else order[:-excess]:
        zero[i] -= axes if excess > 0 else -axes
    rest = [value - base for value, base in zip(plane, zero, strict=True)]
    order = order[-excess:] + order[:-excess] if excess else order
    drop = [rest[order[i]] - rest[order[i + 1]] for i in range(axes - 1)]
    weights = [1 - sum(drop) / axes, *(value / axes for value in reversed(drop))]
    result = []
    for remainder, weight in enumerate(weights):
        lowered = set(order[axes - remainder :])
        vertex = tuple(zero[i] + remainder - axes * (i in lowered) for i in range(axes))
        result.append((vertex, weight))
    return result


def plain_filter(features: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The lattice's normalised filter of (N, L) values at (N, d) points, by dictionaries."""
    corners = [corners_of(feature) for feature in features.tolist()]

    def blur(signal: torch.Tensor) -> torch.Tensor:
        rows = defaultdict(lambda: torch.zeros(signal.shape[1], dtype=torch.float64))
        for around, value in zip(corners, signal, strict=True):
            for vertex, weight in around:
                rows[vertex] = rows[vertex] + weight * value
        for axis in range(features.shape[1] + 1):
            old, rows = rows, {}
            for vertex, value in old.items():
                total = value.clone()
                for sign in (-1, 1):
                    beside = [coordinate - sign for coordinate in vertex]
                    beside[axis] += sign * (features.shape[1] + 1)
                    if tuple(beside) in old:
                        total += 0.5 * old[tuple(beside)]
                rows[vertex] = total
        return torch.stack([sum(weight * rows[v] for v, weight in around) for around in corners])

    norm = blur(torch.ones(len(features), 1, dtype=torch.float64)).rsqrt()
    return norm * blur(norm * values)


@pytest.mark.parametrize("sizes", [[3.0, 3.0], [0.7, 1.3], [5.0, 5.0, 20.0, 30.0, 40.0]])
def test_filter_is_the_lattice_written_out(sizes):
    height, width = 9, 11
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    values = torch.rand(height * width, 2, generator=generator, dtype=torch.float64)
    everything = slice(0, height * width)
    kernel = crf._Filter(image, sizes, 2.5, [everything])
    ours = kernel.scatter(kernel.gather(values.float()), 0, everything)
    features = lattice.features(image, sizes, everything).t().double()
    torch.testing.assert_close(
        ours.double(), 2.5 * plain_filter(features, values), rtol=0, atol=1e-4
    )


def test_mean_field_is_near_the_one_of_the_kernel_written_out():
    height, width = 20, 24
    image = drawn(height, width)
    unary = unary_from_probabilities(scores(3, height, width))
    ours = dense_crf(unary, image, spatial=(3, 3), bilateral=(20, 30, 5))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([y, x], dim=-1).view(-1, 2).double()
    place_and_colour = torch.cat([place / 20, image.view(-1, 3).double() / 30], dim=1)
    total = torch.zeros(height * width, height * width, dtype=torch.float64)
    for features, weight in ((place / 3, 3), (place_and_colour, 5)):
        kernel = torch.exp(-torch.cdist(features, features).square() / 2)
        norm = kernel.sum(1).rsqrt()
        total += weight * norm.unsqueeze(1) * kernel * norm
    energy = unary.view(3, -1).double()
    state = (-energy).softmax(0)
    for _ in range(10):
        state = (state @ total - energy).softmax(0)
    exact = state.view(3, height, width)
    assert (ours.argmax(0) == exact.argmax(0)).float().mean() > 0.97
    assert (ours - exact).abs().mean() < 0.02


def test_blocks_and_tiles_change_nothing(monkeypatch):
    image, unary = drawn(30, 41), energies("psa", 3, 30, 41)
    whole = dense_crf(unary, image, spatial=(3, 3), bilateral=(30, 8, 10))
    monkeypatch.setattr(crf, "BLOCK", 97)
    monkeypatch.setattr(crf, "TILE", 64)
    parts = dense_crf(unary, image, spatial=(3, 3), bilateral=(30, 8, 10))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("labels", [1, 2, 3, 5, 21])
@pytest.mark.parametrize("sets", [1, 2, 3])
def test_unaries_of_one_photo_get_what_each_gets_alone(sets, labels):
    image = drawn(60, 83)
    generator = torch.Generator().manual_seed(labels)
    unary = 5 * torch.rand(sets, labels, 60, 83, generator=generator)
    sizes = {"spatial": (3, 3), "bilateral": (30, 8, 10)}
    together = dense_crf(unary, image, **sizes)
    alone = torch.stack([dense_crf(one, image, **sizes) for one in unary])
    # Equal bits are not promised by every processor's order of additions.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_wide_codes_change_nothing(monkeypatch):
    image, unary = drawn(30, 41), energies("psa", 3, 30, 41)
    narrow = dense_crf(unary, image, spatial=(3, 3), bilateral=(30, 8, 10))
    monkeypatch.setattr(lattice, "NARROW", 1)
    wide = dense_crf(unary, image, spatial=(3, 3), bilateral=(30, 8, 10))
    torch.testing.assert_close(wide, narrow, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_finder_finds_what_is_there(dtype):
    generator = torch.Generator().manual_seed(0)
    drawn_codes = torch.randint(0, 1 << 29, (60_000,), generator=generator)
    # Codes a table's length apart want the same slots.
    codes = torch.cat([drawn_codes, drawn_codes[:5000] % 1000 * (1 << 18)]).unique().to(dtype)
    find = lattice._Finder(codes)
    assert len(find.lost)
    torch.testing.assert_close(find(codes), torch.arange(len(codes), dtype=torch.int32))
    known = set(codes.tolist())
    for code, place in zip((codes + 1).tolist(), find(codes + 1).tolist(), strict=True):
        assert (place < len(codes)) == (code in known)
        assert place == len(codes) or codes[place] == code


def test_is_a_distribution_and_does_not_care_about_the_order_of_labels():
    image, unary = drawn(25, 33), energies("psa", 4, 25, 33)
    result = dense_crf(unary, image, spatial=(3, 3), bilateral=(30, 8, 10))
    torch.testing.assert_close(result.sum(0), torch.ones(25, 33))
    assert result.min() >= 0
    order = torch.tensor([2, 0, 3, 1])
    moved = dense_crf(unary[order], image, spatial=(3, 3), bilateral=(30, 8, 10))
    torch.testing.assert_close(moved, result[order], rtol=0, atol=1e-5)


def test_without_iterations_or_weights_only_the_unary_counts():
    image, unary = drawn(25, 33), energies("psa", 4, 25, 33)
    alone = (-unary).softmax(0)
    none = dense_crf(unary, image, spatial=(3, 3), bilateral=(30, 8, 10), iterations=0)
    torch.testing.assert_close(none, alone)
    weightless = dense_crf(unary, image, spatial=(3, 0), bilateral=(30, 8, 0))
    torch.testing.assert_close(weightless, alone)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1)])
@pytest.mark.parametrize("labels", [1, 2])
def test_smallest_photos(labels, shape):
    image = torch.zeros(*shape, 3, dtype=torch.uint8)
    result = dense_crf(torch.zeros(labels, *shape), image, spatial=(3, 3), bilateral=(30, 8, 10))
    torch.testing.assert_close(result, torch.full((labels, *shape), 1 / labels))


def test_noise_inside_one_colour_is_removed():
    image = torch.zeros(40, 60, 3, dtype=torch.uint8)
    image[:, 30:] = 200
    truth = (image[..., 0] > 0).long()
    wrong = torch.rand(40, 60, generator=torch.Generator().manual_seed(0)) < 0.2
    unary = unary_from_labels(torch.where(wrong, 1 - truth, truth), 2, 0.7)
    result = dense_crf(unary, image, spatial=(3, 3), bilateral=(50, 5, 10))
    assert (result.argmax(0) == truth).all()


def test_noncontiguous_input_and_gradients_off():
    image, unary = drawn(25, 33), energies("psa", 4, 25, 33)
    result = dense_crf(unary, image, spatial=(3, 3), bilateral=(30, 8, 10))
    odd = unary.permute(2, 1, 0).contiguous().permute(2, 1, 0).requires_grad_()
    turned = image.transpose(0, 1).contiguous().transpose(0, 1)
    again = dense_crf(odd, turned, spatial=(3, 3), bilateral=(30, 8, 10))
    assert not again.requires_grad
    torch.testing.assert_close(again, result)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", SETS)
def test_same_on_the_gpu(name):
    image, unary = drawn(120, 161), energies(name, 4, 120, 161)
    spatial, bilateral, _ = SETS[name]
    on_cpu = dense_crf(unary, image, spatial=spatial, bilateral=bilateral)
    on_gpu = dense_crf(unary.cuda(), image.cuda(), spatial=spatial, bilateral=bilateral).cpu()
    assert (on_cpu.argmax(0) == on_gpu.argmax(0)).float().mean() > 0.995
    assert (on_cpu - on_gpu).abs().flatten().kthvalue(int(0.999 * on_cpu.numel())).values < 1e-2


def test_probabilities_are_floored():
    result = unary_from_probabilities(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1), floor=1e-3)
    expected = torch.tensor([-math.log(1e-3), math.log(2), 0.0]).view(3, 1, 1)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    ("unary", "image", "change", "message"),
    [
        (torch.zeros(4, 5), torch.zeros(4, 5, 3, dtype=torch.uint8), {}, "unary must be"),
        (torch.zeros(2, 4, 5), torch.zeros(5, 4, 3, dtype=torch.uint8), {}, "image must be"),
        (torch.zeros(2, 4, 5), torch.zeros(4, 5, 3), {}, "image must be"),
        *(
            (torch.zeros(2, 4, 5), torch.zeros(4, 5, 3, dtype=torch.uint8), change, message)
            for change, message in (
                ({"spatial": (0, 3)}, "must be positive"),
                ({"bilateral": (9, -1, 3)}, "must be positive"),
                ({"bilateral": (1e-6, 1e-6, 3)}, "too small"),
                ({"iterations": -1}, "iterations"),
            )
        ),
    ],
)
def test_wrong_arguments_are_named(unary, image, change, message):
    arguments = {"spatial": (3, 3), "bilateral": (9, 9, 3)} | change
    with pytest.raises(ValueError, match=message):
        dense_crf(unary, image, **arguments)


def test_wrong_helper_arguments_are_named():
    labels = torch.zeros(2, 2, dtype=torch.long)
    for bad, count, confidence in itertools.chain(
        [(labels + 3, 3, 0.7), (labels - 1, 3, 0.7), (labels[0, 0], 3, 0.7), (labels / 2, 3, 0.7)],
        [(labels, 1, 0.7), (labels, 3, 1.0), (labels, 3, 0.0)],
    ):
        with pytest.raises(ValueError, match=r"labels|count"):
            unary_from_labels(bad, count, confidence)
    cube = torch.zeros(2, 2, 2)
    for bad, floor in ((torch.zeros(2, 2), 1e-5), (cube, 0.0), (cube, 1.0), (cube, -0.1)):
        with pytest.raises(ValueError, match="probabilities"):
            unary_from_probabilities(bad, floor)


def test_weights_beyond_the_range_of_exponentials():
    """Messages of several hundred nats: the softmax must still be one."""
    generator = torch.Generator().manual_seed(0)
    unary = torch.rand(3, 12, 15, generator=generator)
    image = torch.randint(0, 256, (12, 15, 3), generator=generator, dtype=torch.uint8)
    sizes = {"spatial": (2.0, 300.0), "bilateral": (4.0, 200.0, 500.0)}
    marginals = dense_crf(unary, image, **sizes, iterations=5)
    assert torch.isfinite(marginals).all()
    assert torch.allclose(marginals.sum(0), torch.ones(12, 15))
    assert torch.equal(marginals.argmax(0), marginals.round().argmax(0))


def test_kept_lattices_do_not_mix_photos():
    """The lattice of place serves all photos of a size, and says nothing of their colours."""
    generator = torch.Generator().manual_seed(1)
    unary = torch.rand(2, 9, 11, generator=generator)
    first, second = (
        torch.randint(0, 256, (9, 11, 3), generator=generator, dtype=torch.uint8) for _ in range(2)
    )
    sizes = {"spatial": (3.0, 3.0), "bilateral": (50.0, 5.0, 10.0)}
    alone = dense_crf(unary, second, **sizes)
    dense_crf(unary, first, **sizes)
    dense_crf(unary.mT.contiguous(), first.transpose(0, 1).contiguous(), **sizes)
    assert torch.equal(alone, dense_crf(unary, second, **sizes))
