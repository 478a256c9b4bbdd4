"""EPS (Lee et al., CVPR 2021): saliency as feedback on maps of the classes and of background."""

from torch import Tensor
from torch.nn import functional as F

from esol.data.batch import Batch, Losses
from esol.method.classifier import Classifier
from esol.method.losses import classification_loss
from esol.networks.backbone import features_of


class SaliencyClassifier(Classifier):
    """The plain classifier with a head of K + 1 outputs, background last."""

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> "eps": (N, K, h, w), of a softmax that includes background."""
        return {"eps": self.head(features).softmax(dim=1)[:, :-1]}


def saliency_estimate(
    probabilities: Tensor, tags: Tensor, saliency: Tensor, *, tau: float, lam: float
) -> Tensor:
    """Saliency that the maps predict (paper section 3.2).

    A tagged class's channel is valid if more than ``tau`` of its area (the cells where it exceeds
    0.5) has saliency above 0.5. A channel without area is not valid: published code divides 0 by
    0, which exceeds nothing. The estimate is lam * (sum of the valid channels)
    + (1 - lam) * (1 - background - sum of the tagged channels that are not valid).

    Args:
        probabilities: (N, K + 1, h, w) softmax, background last; the only input with gradients.
        tags: (N, K), 1 where the photo has the class.
        saliency: (N, 1, h, w), 0 .. 1.
        tau: 0 or more, below 1 (published code: 0.4).
        lam: 0 .. 1 (published code: 0.5 for VOC, 0.9 for COCO).

    Returns:
        (N, 1, h, w), 0 .. 1 except for rounding.
    """
    classes, background = probabilities[:, :-1], probabilities[:, -1:]
    tagged = tags.bool()
    valid = tagged & (_salient_share(classes.detach(), saliency) > tau)
    foreground = (classes * valid[:, :, None, None]).sum(dim=1, keepdim=True)
    doubtful = (classes * (tagged & ~valid)[:, :, None, None]).sum(dim=1, keepdim=True)
    return lam * foreground + (1 - lam) * (1 - background - doubtful)


def _salient_share(classes: Tensor, saliency: Tensor) -> Tensor:
    """(N, K) share of each channel's area that is salient, 0 without an area."""
    areas, salient = classes.round(), saliency.round()
    return (areas * salient).sum(dim=(2, 3)) / areas.sum(dim=(2, 3)).clamp_min(1)


def eps_losses(model: SaliencyClassifier, batch: Batch, *, tau: float, lam: float) -> Losses:
    """L_cls of the classes' logits + mean squared error of the estimated saliency.

    ``batch.targets`` is the saliency, (N, 1, h', w'), sampled at the centres of the logits' cells
    (nearest pixel); ``tau`` and ``lam`` as in :func:`saliency_estimate`.

    Raises:
        ValueError: the batch has no targets.
    """
    if batch.targets is None:
        raise ValueError("a batch without targets")
    logits = model.head(features_of(model.backbone, batch))
    saliency = F.interpolate(batch.targets, logits.shape[-2:], mode="nearest-exact")
    classification = classification_loss(model.head.scores(logits[:, :-1]), batch.tags)
    estimate = saliency_estimate(logits.softmax(dim=1), batch.tags, saliency, tau=tau, lam=lam)
    mismatch = F.mse_loss(estimate, saliency)
    return {
        "loss": classification + mismatch,
        "classification": classification.detach(),
        "saliency": mismatch.detach(),
    }
