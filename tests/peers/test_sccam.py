"""SC-CAM: sub-labels against the best of all partitions, both losses against loops."""

from itertools import product

import numpy as np
import pytest
import sklearn.cluster
import torch
from descent import losses_of_steps
from threadpoolctl import threadpool_info
from torch import nn

from esol.data.batch import Batch
from esol.method.classifier import Head, ranked_mean
from esol.method.losses import classification_loss
from esol.networks.backbone import Backbone
from esol.peers.sccam import SubcategoryClassifier, sccam_losses, subcategories
from esol.settings import BackboneSettings, HeadSettings

CLASSES, CLUSTERS = 3, 2


def network(learn: tuple[str, ...] = ("*",)) -> SubcategoryClassifier:
    torch.manual_seed(0)
    backbone = Backbone(
        BackboneSettings(name="test_resnet", weights="none", stride=8, learn=learn, norm="frozen")
    )
    return SubcategoryClassifier(
        backbone,
        Head(backbone.channels, CLASSES, HeadSettings(width=5, kernel=1)),
        CLASSES * CLUSTERS,
    )


def batch_and_sublabels() -> tuple[Batch, dict[str, torch.Tensor]]:
    images = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    rows = {"b": torch.tensor([0, 0, 1, 0, 0, 0]), "a": torch.tensor([0, 1, 0, 0, 1, 0])}
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    return Batch(images, tags, ("a", "b"), cached=False), {
        name: row.to(torch.uint8) for name, row in rows.items()
    }


def scatter(vectors: np.ndarray, labels: tuple[int, ...]) -> float:
    """Summed squared distances from the means of the clusters."""
    total, chosen = 0.0, np.array(labels)
    for label in set(labels):
        members = vectors[chosen == label]
        total += ((members - members.mean(axis=0)) ** 2).sum()
    return total


@pytest.mark.parametrize("clusters", [2, 3])
def test_sublabels_are_the_best_partition_of_each_class(clusters):
    generator = np.random.default_rng(3)
    vectors = generator.random((10, 2), dtype=np.float32)
    tags = generator.random((10, 2)) < 0.7
    labels = subcategories(
        torch.tensor(vectors), torch.tensor(tags), clusters, seed=0, iterations=300
    )
    assert labels.shape == (10, 2 * clusters)
    assert labels.dtype == torch.uint8
    for k in range(2):
        block = labels[:, k * clusters : (k + 1) * clusters].numpy()
        assert (block.sum(axis=1) == tags[:, k]).all()
        members = vectors[tags[:, k]].astype(float)
        best = min(
            product(range(clusters), repeat=len(members)), key=lambda each: scatter(members, each)
        )
        found = block[tags[:, k]].argmax(axis=1)
        together = np.equal.outer(np.array(best), np.array(best))
        assert (np.equal.outer(found, found) == together).all()


def test_a_small_class_has_as_many_clusters_as_distinct_vectors():
    vectors = torch.tensor([[0.0, 1], [0, 1], [5, 5], [2, 2], [0, 1]])
    tags = torch.tensor(
        [
            # two distinct of four, one photo, nobody, all the same
            [1, 0, 0, 1],
            [1, 0, 0, 1],
            [1, 0, 0, 0],
            [0, 1, 0, 0],
            [1, 0, 0, 1],
        ],
        dtype=torch.bool,
    )
    labels = subcategories(vectors, tags, 3, seed=0, iterations=300)
    blocks = labels.view(5, 4, 3)
    assert torch.equal(blocks.sum(dim=2), tags.long())
    assert blocks.amax(dim=0).sum(dim=1).tolist() == [2, 1, 0, 1]
    assert torch.equal(blocks[0, 0], blocks[1, 0])
    assert not torch.equal(blocks[0, 0], blocks[2, 0])
    assert not labels[:, 6:9].any()


def test_clusters_that_only_rounding_sets_apart_are_no_warning():
    vectors = torch.tensor([[1e-30], [2e-30], [3e-30], [1.0]])
    labels = subcategories(vectors, torch.ones(4, 1, dtype=torch.bool), 4, seed=0, iterations=300)
    assert (labels.sum(dim=1) == 1).all()
    assert torch.equal(labels[0], labels[2])
    assert not torch.equal(labels[0], labels[3])


def test_k_means_runs_as_published_on_one_thread(monkeypatch):
    calls = []

    class Spy(sklearn.cluster.KMeans):
        def fit_predict(self, *args, **kwargs):
            threads = {pool["num_threads"] for pool in threadpool_info()}
            calls.append((self.n_clusters, self.max_iter, self.random_state, self.init, threads))
            return super().fit_predict(*args, **kwargs)

    monkeypatch.setattr(sklearn.cluster, "KMeans", Spy)
    vectors = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    subcategories(vectors, torch.ones(30, 1, dtype=torch.bool), 10, seed=4, iterations=7)
    assert calls == [(10, 7, 4, "k-means++", {1})]


def test_sublabels_repeat_and_leave_random_states_alone():
    vectors = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    tags = torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) < 0.5
    torch.manual_seed(0)
    np.random.seed(0)
    first = subcategories(vectors, tags, 5, seed=0, iterations=300)
    drawn = torch.rand(1), np.random.rand()
    second = subcategories(vectors, tags, 5, seed=0, iterations=300)
    assert torch.equal(first, second)
    torch.manual_seed(0)
    np.random.seed(0)
    assert drawn == (torch.rand(1), np.random.rand())


def test_wrong_vectors_are_refused():
    tags = torch.ones(3, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match="2 vectors"):
        subcategories(torch.zeros(2, 2), tags, 2, seed=0, iterations=1)
    with pytest.raises(ValueError, match="not finite"):
        subcategories(torch.full((3, 2), torch.nan), tags, 2, seed=0, iterations=1)


def test_vectors_are_means_of_what_v_reads():
    model = network()
    features = torch.randn(2, model.backbone.channels, 3, 4)
    w1, w2 = (w.weight[:, :, 0, 0].detach().numpy() for w in (model.head.w1, model.head.w2))
    vectors, both = model.vectors(features), model.both(features)
    for n in range(2):
        cells = features[n].flatten(1).numpy()
        x2 = np.maximum(w2 @ np.maximum(w1 @ cells, 0), 0)
        np.testing.assert_allclose(vectors[n].detach(), x2.mean(axis=1), rtol=1e-4, atol=1e-6)
        sub = model.sub.weight[:, :, 0, 0].detach().numpy() @ x2
        np.testing.assert_allclose(
            both.subcategories[n].flatten(1).detach(), sub, rtol=1e-4, atol=1e-6
        )
    torch.testing.assert_close(both.classes, model.maps(features)["sccam"])
    torch.testing.assert_close(both.classes, model.head(features))


def test_losses_take_sublabels_by_name():
    model, (batch, sublabels) = network(), batch_and_sublabels()
    model.head.decay = 0.9
    losses = sccam_losses(model, batch, sublabels=sublabels, weight=5.0)
    maps = model.both(model.backbone(batch.inputs))
    rows = torch.tensor([[0.0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]])
    classes = classification_loss(ranked_mean(maps.classes, 0.9), batch.tags).item()
    finer = classification_loss(ranked_mean(maps.subcategories, 0.9), rows).item()
    assert losses["classification"].item() == pytest.approx(classes)
    assert losses["subcategories"].item() == pytest.approx(finer)
    assert losses["loss"].item() == pytest.approx(classes + 5 * finer)


@pytest.mark.parametrize("learn", [(), ("layer4",), ("*",)])
def test_gradients_reach_what_learns(learn):
    model, (batch, sublabels) = network(learn).train(), batch_and_sublabels()
    sccam_losses(model, batch, sublabels=sublabels, weight=5.0)["loss"].backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached >= {"head.w1.weight", "head.w2.weight", "head.v.weight", "sub.weight"}
    inside = {name for name in reached if name.startswith("backbone")}
    start = tuple(f"backbone.network.{prefix.strip('*')}" for prefix in learn)
    assert bool(inside) == bool(learn)
    assert all(name.startswith(start) for name in inside)


def test_subcategories_teach_what_classes_share():
    gradients = []
    for weight in (0.0, 5.0):
        model, (batch, sublabels) = network(), batch_and_sublabels()
        sccam_losses(model, batch, sublabels=sublabels, weight=weight)["loss"].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, same in (("head.v.weight", True), ("sub.weight", False), ("head.w1.weight", False)):
        assert torch.equal(gradients[0][name], gradients[1][name]) == same
    assert not gradients[0]["sub.weight"].any()


def test_cached_features_need_no_backbone():
    head = Head(4, CLASSES, HeadSettings(width=5, kernel=1))
    model = SubcategoryClassifier(nn.Identity(), head, CLASSES * CLUSTERS)
    batch, sublabels = batch_and_sublabels()
    batch = batch._replace(inputs=torch.rand(2, 4, 3, 3), cached=True)
    losses = sccam_losses(model, batch, sublabels=sublabels, weight=0.0)
    assert losses["loss"].item() == pytest.approx(losses["classification"].item())


def test_weights_survive_a_round_trip():
    model, other = network(), network()
    nn.init.normal_(model.sub.weight)
    other.load_state_dict(model.state_dict())
    features = torch.rand(1, model.backbone.channels, 2, 2)
    assert torch.equal(other.both(features).subcategories, model.both(features).subcategories)
    assert "sub.weight" in model.state_dict()


def test_steps_lower_the_loss():
    model, (batch, sublabels) = network(), batch_and_sublabels()
    values = losses_of_steps(
        model, lambda: sccam_losses(model, batch, sublabels=sublabels, weight=5.0)["loss"]
    )
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]
