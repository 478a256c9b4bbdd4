"""Settings of stages 6 to 8: refinement, pseudo masks, the segmentation network."""

from dataclasses import dataclass, field
from typing import Any, Literal

from esol.settings.checks import at_least_zero, check, positive
from esol.settings.inputs import Fit, Input

RefineMethod = Literal["crf", "irn"]


@dataclass(frozen=True)
class Crf:
    """Fully connected CRF: a spatial kernel exp(-d^2 / 2 size^2), and a bilateral one that also
    needs similar colours. Defaults: IRN's, for label masks.
    """

    iterations: int = 10
    """Mean-field steps; 0: no CRF."""

    spatial_size: float = 3.0
    """Reach of the spatial kernel, pixels."""

    spatial_weight: float = 3.0
    """Weight of the spatial kernel."""

    bilateral_size: float = 50.0
    """Reach of the bilateral kernel, pixels."""

    bilateral_colour: float = 5.0
    """Reach of the bilateral kernel in each colour channel, 8-bit levels."""

    bilateral_weight: float = 10.0
    """Weight of the bilateral kernel."""

    def kernels(self) -> dict[str, Any]:
        """Arguments of :func:`esol.ops.crf.dense_crf`."""
        return {
            "spatial": (self.spatial_size, self.spatial_weight),
            "bilateral": (self.bilateral_size, self.bilateral_colour, self.bilateral_weight),
            "iterations": self.iterations,
        }

    def check(self, prefix: str) -> None:
        """Raise an InputError for a value out of range, naming it under ``prefix``."""
        at_least_zero(self, prefix, "iterations", "spatial_weight", "bilateral_weight")
        positive(self, prefix, "spatial_size", "bilateral_size", "bilateral_colour")


@dataclass(frozen=True)
class Affinity:
    """IRNet: learns from confident labels where one object ends. Defaults: IRN's recipe."""

    foreground: float = 0.30
    """A label is confident where a map exceeds this after refine.crf."""

    background: float = 0.05
    """Background is confident where no map exceeds this after refine.crf."""

    radius: int = 10
    """Pairs nearer than this are learned from, cells of 4 pixels."""

    input: Input = field(default_factory=lambda: Input(longest=(250, 750)))
    """Training inputs."""

    fit: Fit = field(default_factory=lambda: Fit(epochs=3, batch=32))
    """Optimisation; its lr is that of the edge branch."""

    displacement_lr: float = 10.0
    """Rate of the displacement branch, as a multiple of fit.lr."""

    def check(self, prefix: str) -> None:
        """Raise an InputError for a value out of range, naming it under ``prefix``."""
        self.fit.check(f"{prefix}.fit")
        self.input.check(f"{prefix}.input")
        check(
            0 <= self.background <= self.foreground < 1,
            f"{prefix}.background",
            self.background,
            f"in [0, {prefix}.foreground], and that below 1",
        )
        check(2 <= self.radius <= 20, f"{prefix}.radius", self.radius, "from 2 to 20")
        positive(self, prefix, "displacement_lr")


@dataclass(frozen=True)
class Walk:
    """Random walk of the maps over IRNet's affinities. Defaults: IRN's."""

    radius: int = 5
    """A step reaches cells nearer than this, cells of 4 pixels."""

    beta: float = 10.0
    """Exponent of the affinity."""

    steps: int = 256
    """Steps of the walk."""

    power: float = 1.0
    """The maps are raised to this power first."""

    def check(self, prefix: str) -> None:
        """Raise an InputError for a value out of range, naming it under ``prefix``."""
        check(2 <= self.radius <= 20, f"{prefix}.radius", self.radius, "from 2 to 20")
        at_least_zero(self, prefix, "steps")
        positive(self, prefix, "beta", "power")


@dataclass(frozen=True)
class Refine:
    """Stage 6: refined maps (irn) and masks (crf) from the maps that seeds.kind names."""

    methods: tuple[RefineMethod, ...] = ("crf", "irn")
    """What is made; empty: this stage does nothing."""

    crf: Crf = field(default_factory=Crf)
    """CRF on label masks: the seeds for crf, the confident labels for irn."""

    confidence: float = 0.7
    """Probability of each pixel's label with which that CRF starts."""

    affinity: Affinity = field(default_factory=Affinity)
    """IRNet."""

    walk: Walk = field(default_factory=Walk)
    """Random walk."""

    threshold: float = 0.25
    """irn: score above which instances are cut, and at which the maps are measured if no masks are
    made of them."""

    longest: int = 1000
    """CRF and IRNet work on the photo reduced to at most this longest side, pixels; 0: never
    reduced. Their sizes were chosen for photos of about 500 pixels."""

    instances: bool = False
    """irn: also group each class's pixels into objects by the displacement field."""

    def __post_init__(self) -> None:
        self.crf.check("refine.crf")
        check(0.5 <= self.confidence < 1, "refine.confidence", self.confidence, "in [0.5, 1)")
        self.affinity.check("refine.affinity")
        self.walk.check("refine.walk")
        check(0 <= self.threshold < 1, "refine.threshold", self.threshold, "in [0, 1)")
        check(
            self.longest == 0 or self.longest >= 32,
            "refine.longest",
            self.longest,
            "0, or at least 32",
        )
        check(
            len(set(self.methods)) == len(self.methods),
            "refine.methods",
            self.methods,
            "without repeats",
        )


@dataclass(frozen=True)
class Masks:
    """Stage 7: pseudo masks, what the segmentation network learns from."""

    source: Literal["seeds", "crf", "irn"] = "irn"
    """What becomes the mask: maps at a threshold, the CRF's masks, IRN's maps at a threshold."""

    threshold: float | Literal["auto"] = "auto"
    """seeds and irn: score above which a pixel takes its best tagged class; auto: chosen from the
    maps alone, without ground truth, and 0.1 with saliency (docs/masks.md)."""

    margin: float = 0.0
    """seeds and irn: pixels whose best score is nearer than this to the threshold become 255."""

    saliency: str = ""
    """Folder of saliency maps: inside the data folder if it is there, else from the current folder,
    or an absolute path; empty: none are used."""

    salient: float = 0.5
    """Saliency from which a pixel counts as foreground."""

    def __post_init__(self) -> None:
        if self.threshold != "auto":
            check(0 <= self.threshold < 1, "masks.threshold", self.threshold, "auto, or in [0, 1)")
        check(0 <= self.margin < 1, "masks.margin", self.margin, "in [0, 1)")
        check(0 < self.salient <= 1, "masks.salient", self.salient, "in (0, 1]")


AUTO_STRIDE = 8
"""What auto means for segment.stride where the stride can be chosen."""


@dataclass(frozen=True)
class Segment:
    """Stage 8: a segmentation network trained on the pseudo masks. Defaults: the paper's network
    (DeepLab-ASPP V3, ResNet-101), DeepLab's usual optimisation.
    """

    network: str = "DeepLabV3"
    """A network of segmentation_models_pytorch by its class name, DeepLabV2, or none."""

    encoder: str = "resnet101"
    """Its encoder: a name of segmentation_models_pytorch (tu-NAME: any of timm); DeepLabV2: a name
    of timm."""

    weights: str = "imagenet"
    """Initial weights of the encoder: imagenet (downloads), none, or a .safetensors file."""

    stride: int | Literal["auto"] = "auto"
    """Input pixels per feature cell of the encoder. auto: 8 where it can be chosen, otherwise the
    network's own."""

    norm: Literal["frozen", "learned"] = "frozen"
    """Encoder's batch norm: running statistics of the weights, or learned from the batches."""

    input: Input = field(default_factory=lambda: Input(size=321, longest=(250, 750)))
    """Training inputs."""

    fit: Fit = field(
        default_factory=lambda: Fit(epochs=19, batch=10, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
    )
    """Optimisation; its lr is that of the encoder. 19 epochs of VOC's 10,582 photos are the field's
    20,000 steps."""

    head_lr: float = 10.0
    """Rate of everything but the encoder, as a multiple of fit.lr."""

    truth: bool = False
    """Train on the ground truth: the fully supervised upper bound, no weak supervision."""

    longest: int = 500
    """Testing: longest side at scale 1, pixels (resize: crop; squash tests at input.size)."""

    scales: tuple[float, ...] = (1.0,)
    """Testing: input scales whose probabilities are averaged."""

    flip: bool = True
    """Testing: average with the mirrored photo's probabilities."""

    crf: Crf = field(
        default_factory=lambda: Crf(
            iterations=0,
            spatial_size=1.0,
            bilateral_size=67.0,
            bilateral_colour=3.0,
            bilateral_weight=4.0,
        )
    )
    """Testing: CRF on the probabilities (DeepLab's; off by default)."""

    def __post_init__(self) -> None:
        self.fit.check("segment.fit")
        self.input.check("segment.input")
        check(self.fit.batch >= 2, "segment.fit.batch", self.fit.batch, "2 or more")
        self.crf.check("segment.crf")
        check(bool(self.network), "segment.network", self.network, "a network's name, or none")
        strides = ("auto", 4, 8, 16, 32)
        check(self.stride in strides, "segment.stride", self.stride, "auto, 4, 8, 16 or 32")
        check(self.longest >= 32, "segment.longest", self.longest, "at least 32")
        positive(self, "segment", "head_lr")
        check(
            bool(self.scales) and all(0 < s <= 4 for s in self.scales),
            "segment.scales",
            self.scales,
            "one or more numbers in (0, 4]",
        )

    @property
    def encoder_stride(self) -> int:
        """The stride that a network is asked for, if it can be."""
        return AUTO_STRIDE if self.stride == "auto" else self.stride
