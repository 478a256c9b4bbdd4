"""What comes after the backbone: the maps of all kinds, and a training step of the last network.

    python benchmarks/heads.py [--device cuda]

Maps: each kind alone, from the heads of configs/voc12.yaml on random features, against all of them
at once, as the stage cams makes them; and CAM alone, for comparison. Training: a step of 8 photos
of DeepLabV3+ with MobileNetV2 at 256 pixels, against one of a head on cached features of
EfficientNet-Lite2 at 320. They are different networks: docs/segmentation.md says how good both are.
"""

import torch
from common import Report, Row, Step, alternate, middle, parser_of, within
from torch import Tensor, nn

from esol.data.batch import Batch, Mean
from esol.method.classifier import Classifier, Head
from esol.method.localizer import Localizer
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter, segment_losses
from esol.settings import BackboneSettings, Segment
from esol.settings.load import load_settings

CLASSES, PHOTOS = 20, 8


def main() -> None:
    options = parser_of(__doc__).parse_args()
    report = Report("heads", options)
    torch.manual_seed(0)
    row = maps(report, 64 if options.quick else 2048, 8 if options.quick else 32, options.repeats)
    training(report, "test_resnet" if options.quick else "", options.repeats)
    report.finish(row)


@torch.no_grad()
def maps(report: Report, channels: int, side: int, repeats: int) -> Row:
    """Each kind alone against all at once."""
    settings = load_settings("voc12")
    head = Head(channels, CLASSES, settings.head)
    model = Localizer.start(settings, Classifier(nn.Identity(), head))  # type: ignore[arg-type]
    for part in (model.expansion, model.shrinkage):
        assert part.sampler is not None
        nn.init.normal_(part.sampler.predict.weight, std=0.002)
    model = model.to(report.device).eval()
    features = torch.rand(1, channels, side, side, device=report.device)

    def alone() -> dict[str, Tensor]:
        return {
            "cam": head(features),
            "expansion": head.after_w1(model.expansion(features)),
            "shrinkage": model.shrinkage(model.expansion(features)),
        }

    ours, theirs = model.maps(features), alone()
    report.ours_ran()
    error = max(
        float((ours[kind] - theirs[kind]).abs().max() / theirs[kind].abs().max()) for kind in ours
    )
    case = f"maps of all kinds, {channels} channels, {side}² cells"
    within(error, 1e-4, case)
    row = report.add(case, alternate(alone, lambda: model.maps(features), repeats), error)
    report.add(f"CAM alone, {channels} channels", middle(lambda: head(features), repeats), None)
    return row


def training(report: Report, small: str, repeats: int) -> None:
    """A step of both segmentation networks; ``small``: a backbone for both, and small photos."""
    side = 64 if small else 256
    whole = Segmenter(
        Segment("DeepLabV3Plus", f"tu-{small or 'mobilenetv2_100'}", weights="none", stride=16),
        CLASSES + 1,
    )
    settings = BackboneSettings(name=small or "tf_efficientnet_lite2", weights="none", stride=16)
    backbone = Backbone.fixed(settings)
    head = Segmenter(Segment("head", settings.name), CLASSES + 1, backbone)
    cells = 4 if small else 20
    theirs = step_of(whole, torch.randn(PHOTOS, 3, side, side), side, report.device)
    features = torch.rand(PHOTOS, backbone.channels, cells, cells)
    ours = step_of(head, features, 4 * cells, report.device)
    report.add(f"training step, {PHOTOS} photos", alternate(theirs, ours, repeats), None)


def step_of(network: Segmenter, inputs: Tensor, side: int, device: str) -> Step:
    """A training step of one batch, as a call."""
    network = network.to(device).train()
    masks = torch.randint(0, CLASSES + 1, (PHOTOS, side, side), device=device)
    tags, names = torch.zeros(PHOTOS, CLASSES), tuple(map(str, range(PHOTOS)))
    cached = network.network == "head"
    batch = Batch(inputs.to(device), tags, names, cached=cached, masks=masks)
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss = segment_losses(network, batch)["loss"]
        assert isinstance(loss, Mean)
        loss.value().backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
