"""Expansion and Shrinkage: where they start, what learns, what the switches switch."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from esol.method.classifier import Classifier, Head
from esol.method.expansion import Expansion, clip_features
from esol.method.localizer import Localizer
from esol.method.sampling import OffsetBranch, keep_on_map
from esol.method.shrinkage import Shrinkage
from esol.settings import Expand, HeadSettings, Sampler, Shrink

CHANNELS, WIDTH, CLASSES = 6, 5, 3


def sampler(**changes) -> Sampler:
    return Sampler(**{"kernel": 3, "bound": 1.0, "centre": True, "clamp": True, **changes})


def branch(channels: int, kernel: int = 3, **changes) -> OffsetBranch:
    return OffsetBranch(channels, kernel * kernel, sampler(**changes))


def head(kernel: int = 3) -> Head:
    torch.manual_seed(0)
    return Head(CHANNELS, CLASSES, HeadSettings(width=WIDTH, kernel=kernel))


def features() -> torch.Tensor:
    return torch.rand(2, CHANNELS, 7, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kernel", [1, 3])
def test_without_clipping_stages_start_at_the_baseline(kernel):
    one = head(kernel)
    expansion = Expansion(one.w1.weight, Expand(sampler=sampler(clamp=False), clip=1.0))
    shrinkage = Shrinkage(one.w2.weight, one.v.weight, Shrink(sampler=sampler(clamp=False)))
    maps = Localizer(Classifier(nn.Identity(), one), expansion, shrinkage).maps(features())
    torch.testing.assert_close(maps["expansion"], maps["cam"])
    torch.testing.assert_close(maps["shrinkage"], maps["cam"])


def test_clip_cuts_each_channel_at_its_own_share():
    x = torch.rand(3, 4, 5, 6, generator=torch.Generator().manual_seed(2))
    clipped = clip_features(x, 0.25)
    for image in range(3):
        for channel in range(4):
            limit = 0.25 * x[image, channel].max()
            expected = torch.where(x[image, channel] > limit, limit, x[image, channel])
            torch.testing.assert_close(clipped[image, channel], expected)
    assert clip_features(x, 1.0) is x


def test_offsets_are_bounded_and_centred():
    torch.manual_seed(3)
    predictor = branch(CHANNELS, bound=0.5, clamp=False)
    nn.init.normal_(predictor.predict.weight, std=5.0)
    assert predictor(features()).abs().max() <= 0.5
    predictor.settings = replace(predictor.settings, bound=0.0)
    torch.testing.assert_close(
        predictor(features()).mean(dim=(2, 3)), torch.zeros(2, 18), atol=1e-4, rtol=0
    )


def test_only_what_the_stage_learns_gets_a_gradient():
    one = head()
    for learn_w1 in (False, True):
        learn = "offsets+w1" if learn_w1 else "offsets"
        expansion = Expansion(one.w1.weight, Expand(sampler=sampler(), clip=0.25, learn=learn))
        shrinkage = Shrinkage(one.w2.weight, one.v.weight, Shrink(sampler=sampler()))
        model = Localizer(Classifier(nn.Identity(), one), expansion, shrinkage)
        model.classifier.head.after_w1(model.expansion(features())).sum().backward()
        with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
        expected = {"expansion.sampler.predict.weight", "expansion.sampler.predict.bias"}
        assert with_gradient == expected | ({"expansion.w1"} if learn_w1 else set())


def test_shrinkage_can_learn_v_without_a_sampler():
    one = head()
    shrinkage = Shrinkage(one.w2.weight, one.v.weight, Shrink(learn="v"))
    shrinkage(torch.rand(1, WIDTH, 4, 4)).sum().backward()
    assert shrinkage.v.grad is not None
    assert shrinkage.w2.grad is None
    assert one.v.weight.grad is None


def test_moved_offsets_move_the_map():
    one = head(1)
    settings = Expand(sampler=sampler(centre=False, bound=0.0), clip=1.0)
    expansion, x = Expansion(one.w1.weight, settings), features()
    nn.init.constant_(expansion.sampler.predict.bias[1:], 1.0)
    moved = expansion(x)
    still = Expansion(one.w1.weight, replace(settings, learn="nothing"))(x)
    torch.testing.assert_close(moved[..., :-1], still[..., 1:])
    torch.testing.assert_close(moved[..., -1], still[..., -1])


@pytest.mark.parametrize("clamp", [False, True])
def test_learned_and_frozen_weights_sample_alike(clamp):
    one = head()
    settings = Expand(sampler=sampler(clamp=clamp, bound=0.0, centre=False), clip=0.5)
    frozen = Expansion(one.w1.weight, settings)
    learned = Expansion(one.w1.weight, replace(settings, learn="offsets+w1"))
    weight = frozen.sampler.predict.weight
    nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(4))
    learned.sampler = frozen.sampler
    torch.testing.assert_close(frozen(features()), learned(features()))


def test_clamped_centres_stay_on_the_map():
    offset = 20 * torch.randn(2, 18, 5, 7, generator=torch.Generator().manual_seed(5))
    moves = keep_on_map(offset).view(2, 9, 2, 5, 7)
    y, x = torch.arange(5.0)[:, None], torch.arange(7.0)
    for move, base, length in ((moves[:, :, 0], y, 5), (moves[:, :, 1], x, 7)):
        assert (base + move).min() == 0
        assert (base + move).max() == length - 1
    inside = torch.zeros(1, 18, 5, 7)
    assert torch.equal(keep_on_map(inside), inside)


@pytest.mark.parametrize("learn", ["offsets", "offsets+w1", "w1", "nothing"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_maps_of_all_kinds_are_those_of_each_alone(learn, kernel):
    one = head(kernel)
    expansion = Expansion(one.w1.weight, Expand(learn=learn, sampler=sampler(), clip=0.5))
    shrinkage = Shrinkage(one.w2.weight, one.v.weight, Shrink(sampler=sampler()))
    for part in (expansion, shrinkage):
        if part.sampler is not None:
            nn.init.normal_(part.sampler.predict.weight, std=0.5)
    with torch.no_grad():
        expansion.w1 += 0.1 * ("w1" in learn)
        x1 = expansion(features())
        expected = {
            "cam": one(features()),
            "expansion": one.after_w1(x1),
            "shrinkage": shrinkage(x1),
        }
    maps = Localizer(Classifier(nn.Identity(), one), expansion, shrinkage).maps(features())
    for kind, values in expected.items():
        torch.testing.assert_close(maps[kind], values)
    assert not torch.allclose(maps["expansion"], maps["shrinkage"])
