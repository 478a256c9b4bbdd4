"""Masks for new photos, from a trained segmentation network and nothing else."""

import copy
import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from esol.data.images import Photo, are_photos, open_photo
from esol.data.normalisation import IMAGENET, Normalisation
from esol.data.transforms import reduced, resized, to_tensor
from esol.errors import InputError
from esol.networks.folding import fold_batch_norm
from esol.networks.initial import WEIGHTS
from esol.ops.grids import resize, stretched
from esol.predict.bundle import LARGEST, load_bundle
from esol.predict.folder import FolderOptions, predict_folder
from esol.predict.prediction import Prediction
from esol.predict.tiles import labelled, spans, weights
from esol.runs.folder import DESCRIPTION, RunFolder
from esol.settings.masks import Crf
from esol.system.distributed import device_of
from esol.system.files import sha256
from esol.system.precision import Asked, Precision, half, resolved, single
from esol.system.progress import log

TILE = 1024
"""Working images with a longer side are computed in tiles of at most this side, pixels."""

CRF_LONGEST = 1000
"""The CRF runs at the photo's size, but at most at this longest side, pixels, or at the working
image's if that is longer: its reach was chosen for photos of about 500 pixels."""

CRF_MOST = 2000
"""Upper limit of the CRF's longest side: more takes many minutes, and more than 4 GB."""

PRESENT = 0.05
"""Classes whose probability never exceeds this are left out of the CRF and get 0 from it."""


class Model:
    """A trained segmentation network with its test settings; made by :func:`load`.

    A model is not changed by its methods: several threads may share one, and predict the same. A
    network on a GPU gives masks and scores as NumPy arrays all the same.

    Memory: the network works on the photo at its own size (``working_size``), usually a few hundred
    pixels; ``predict`` then makes scores of 4 (K + 1) bytes per pixel of the photo.
    ``predict_folder`` makes no scores at that size, and is for many or large photos.

    Attributes:
        classes: K names, without the background: mask value v is ``classes[v - 1]``.
        device: where the network computes.
        precision: in which it computes, "no" (float32) or "bf16"; probabilities are float32.
        network: the segmenter as prediction computes it, with batch norms folded where possible.
        description: the network's settings and the test settings, as stored in its file.
        source: its file; None if it was not read from one.
        tile: side of a tile, pixels: larger working images are computed in overlapping tiles.

    Args:
        segmenter: (N, 3, H, W) normalised images -> (N, K + 1, H, W) logits, in evaluation mode.
        description: as in ``esol.predict.bundle.save_bundle``; ``classes`` holds its K names,
            without the background.
        device: where to compute.
        source: the network's file.
        tile: side of a tile, pixels; an eighth of it is the least overlap.
        precision: in which to compute, as the setting machine.precision says it.
    """

    def __init__(
        self,
        segmenter: nn.Module,
        description: dict[str, Any],
        device: torch.device | str = "cpu",
        source: Path | None = None,
        tile: int = TILE,
        *,
        precision: Asked = "no",
    ) -> None:
        self.device = torch.device(device)
        wanted: Precision = resolved(precision, self.device)
        self.precision: Precision = "no" if wanted == "fp16" else wanted  # fp16 is of training
        self.segmenter = segmenter.to(self.device).eval()
        folded = copy.deepcopy(self.segmenter)  # the segmenter itself may be saved
        self.network = folded if fold_batch_norm(folded) else self.segmenter
        self.description = description
        self.classes: tuple[str, ...] = tuple(description["classes"])
        self.normalisation = Normalisation(
            *(tuple(description.get(key, getattr(IMAGENET, key))) for key in ("mean", "std"))
        )
        self.source = source
        self.tile = tile
        self.squash = description["resize"] == "squash"

    def __repr__(self) -> str:
        network = (self.description.get(key) for key in ("network", "encoder"))
        shown = ", ".join((*self.classes[:3], *([".."] if len(self.classes) > 3 else [])))
        count = len(self.classes)
        many = "class" if count == 1 else "classes"
        kind = " with ".join(map(str, filter(None, network)))
        return f"Model({kind}, {count} {many}: {shown}; on {self.device})"

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the model's file; "" without a file."""
        return sha256(self.source) if self.source else ""

    # Text is an iterable of text, too; it is always a path.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, image: Photo, *, crf: bool | None = None, longest: int | None = None
    ) -> Prediction: ...
    @overload
    def predict(
        self, image: Iterable[Photo], *, crf: bool | None = None, longest: int | None = None
    ) -> list[Prediction]: ...
    def predict(
        self,
        image: Photo | Iterable[Photo],
        *,
        crf: bool | None = None,
        longest: int | None = None,
    ) -> Prediction | list[Prediction]:
        """Segment one photo, or several.

        The photo is resized as the model's test settings say; the probabilities of all scales and
        of the mirrored photo are averaged at scale 1 and stretched to the photo's size.

        Args:
            image: one photo, or a list or other iterable of photos. A photo is its path (str or
                Path), its file's bytes, a file opened with "rb", a PIL image, or a uint8 array of
                (H, W, 3) RGB or (H, W) grey values, 0 .. 255. Files, bytes and PIL images of any
                mode become upright 8-bit RGB first: the EXIF orientation is applied, 16-bit grey is
                scaled, transparent pixels become white, palettes are looked up.
            crf: whether to refine by the CRF; None: as the model's settings say. With True, 10
                iterations if the settings have 0.
            longest: longest side at scale 1, pixels, at least 32, instead of the model's own
                (resize: squash: the side). Larger finds smaller objects in large photos.

        Returns:
            The prediction, or a list of as many as there are photos, in their order, each as if
            alone. A list holds the scores of all its photos at once.

        Raises:
            InputError: a photo cannot be read or is nothing of the above (a torch tensor, floating
                point values), or ``longest`` is out of range.

        Examples:
            >>> model = load("runs/mine")
            >>> model.predict("photos/images/00002.jpg").mask.shape
            (64, 49)
            >>> len(model.predict(["photos/images/00001.jpg", "photos/images/00002.jpg"]))
            2
        """
        if are_photos(image):
            named = ((one, f"photos[{index}]") for index, one in enumerate(image))
            return [self._predicted(open_photo(one, name), crf, longest) for one, name in named]
        return self._predicted(open_photo(cast(Photo, image)), crf, longest)

    def mask(self, photo: Image.Image, features: Tensor | None = None) -> NDArray[np.uint8]:
        """The mask that :meth:`predict` gives of an RGB photo, without the scores at the photo's
        size: those of 20 classes take 1 GB for 12 megapixels.

        ``features``: of a head on a backbone, what that makes of the photo and of its mirror image,
        (2, C, h, w), in place of the backbone. They are of ``resize`` "squash" and one scale.
        """
        if features is None:
            probabilities = self.probabilities([photo])
        else:
            probabilities = self._of_features(features)
        probabilities = self.refined(probabilities, photo)
        return labelled(probabilities, (photo.height, photo.width), with_scores=False)[0]

    def predict_folder(
        self,
        images: Sequence[Path | str] | Path | str,
        out: Path | str,
        *,
        soft: bool = False,
        overlay: bool = False,
        overwrite: bool = False,
        batch: int = 8,
        longest: int | None = None,
        crf: bool | None = None,
    ) -> dict[str, Any]:
        """Segment photos into mask files.

        Folders are searched with their subfolders (except hidden files and ``out`` itself), and
        the masks keep the names below them, or below the fixed part of a glob pattern. Photos whose
        files exist are skipped: a stopped call can be repeated. Several processes share the photos;
        the result counts those of all.

        Args:
            images: files, folders and glob patterns ("photos/**/left_*.jpg"), or one of them.
            out: folder of the results: NAME.png masks with the VOC colours, ``classes.json``.
                The photos' folders may lie in it.
            soft: also write soft/NAME.npz, see :func:`esol.predict.folder.save_soft`.
            overlay: also write overlays/NAME.jpg, the mask over the photo, with a legend below.
            overwrite: replace existing files.
            batch: photos of equal working size that go through the network together, at least 1.
            longest: see :meth:`predict`.
            crf: see :meth:`predict`.

        Returns:
            ``photos`` in all, ``predicted`` by this call, ``skipped``, ``seconds``; of the photos
            predicted ``classes``: how many show each class, and ``empty``: how many show none.

        Raises:
            InputError: no photos, two photos of one name, a mask that would replace a photo or lie
                among photos, masks of another model or other settings in ``out`` (all before
                anything is written); photos that could not be read (after all others are done; the
                first are named).
        """
        options = FolderOptions(soft, overlay, overwrite, batch, longest, crf)
        items = [images] if isinstance(images, Path | str) else images
        return predict_folder(self, items, Path(out), options)

    def names(self, mask: NDArray[np.uint8]) -> tuple[str, ...]:
        """Names of a mask's classes, without the background, most pixels first."""
        counts = np.asarray(Image.fromarray(mask).histogram())[1 : len(self.classes) + 1]
        order = np.argsort(-counts, kind="stable")
        return tuple(self.classes[index] for index in order if counts[index])

    def longest(self, side: int | None = None) -> int:
        """Longest side at scale 1, pixels: ``side`` (32 .. LARGEST), or the model's own."""
        if side is not None and not 32 <= side <= LARGEST:
            raise InputError(f"longest = {side}: must be at least 32 pixels, at most {LARGEST}")
        return side or self.description["size" if self.squash else "longest"]

    def working_size(
        self, size: tuple[int, int], longest: int | None = None, scale: float = 1.0
    ) -> tuple[int, int]:
        """(width, height) at which a photo of ``size`` (width, height) is computed."""
        side = scale * self.longest(longest)
        if self.squash:
            return (max(1, int(side + 0.5)),) * 2
        width, height = (max(1, int(n * side / max(size) + 0.5)) for n in size)
        return width, height

    @torch.inference_mode()
    def probabilities(self, photos: Sequence[Image.Image], longest: int | None = None) -> Tensor:
        """(N, K + 1, h, w) float32 averaged probabilities of photos of one working size (h, w),
        before the CRF; on the CPU if they were computed in tiles.
        """
        scales = self.description["scales"]
        width, height = self.working_size(photos[0].size, longest)
        total: Tensor | None = None
        for scale in scales:
            size = self.working_size(photos[0].size, longest, scale)
            images = [resized(photo, size) for photo in photos]
            part = self._tiled(images) if max(size) > self.tile else self._mirrored(images)
            if total is None and size == (width, height):
                total = part
                continue
            if total is None:
                total = part.new_zeros((*part.shape[:2], height, width))
            for rows, values in stretched(part, (height, width)):
                total[:, :, rows] += values.to(total.device)
        assert total is not None
        return total.div_(len(scales)) if len(scales) > 1 else total

    @torch.inference_mode()
    def refined(self, probabilities: Tensor, photo: Image.Image, crf: bool | None = None) -> Tensor:
        """One photo's (1, K + 1, h, w) probabilities after the CRF, (1, K + 1, h', w') at its
        resolution; ``probabilities`` itself if the CRF does not run.
        """
        settings = self.crf_settings(crf)
        if settings is None:
            return probabilities
        from esol.ops.crf import photo_crf, unary_from_probabilities

        present = probabilities[0].amax((1, 2)) > PRESENT
        present[0] = True
        if not present[1:].any():
            return probabilities
        probabilities = probabilities.to(self.device)
        photo = reduced(photo, min(max(CRF_LONGEST, *probabilities.shape[2:]), CRF_MOST))
        size = (photo.height, photo.width)
        start = F.interpolate(probabilities[:, present], size, mode="bilinear")[0]
        start /= start.sum(0, keepdim=True)
        marginals = photo_crf(unary_from_probabilities(start), photo, settings.kernels())
        result = probabilities.new_zeros((1, probabilities.shape[1], *size))
        result[0, present] = marginals
        return result

    def crf_settings(self, crf: bool | None) -> Crf | None:
        """Settings of the CRF; None if it does not run."""
        stored = Crf(**self.description["crf"])
        if crf is False or (crf is None and not stored.iterations):
            return None
        return stored if stored.iterations else replace(stored, iterations=Crf.iterations)

    def _predicted(self, photo: Image.Image, crf: bool | None, longest: int | None) -> Prediction:
        probabilities = self.refined(self.probabilities([photo], longest), photo, crf)
        mask, scores = labelled(probabilities, (photo.height, photo.width), with_scores=True)
        return Prediction(mask, self.names(mask), scores, ("background", *self.classes), photo)

    def _mirrored(self, photos: Sequence[Image.Image]) -> Tensor:
        """(N, K + 1, h, w) probabilities of photos of one size, averaged with the mirrored ones."""
        tensors = [to_tensor(photo, self.normalisation) for photo in photos]
        images = torch.stack(tensors).to(self.device)
        result = self._softmax(images)
        if self.description["flip"]:
            result += self._softmax(images.flip(3)).flip(3)
            result /= 2
        return result

    @torch.inference_mode()
    def _of_features(self, features: Tensor) -> Tensor:
        """(1, K + 1, side, side) averaged probabilities of one photo; see :meth:`mask`."""
        body: Any = self.network.body
        with half(self.device, self.precision):
            logits = body.logits(features.to(self.device, torch.float32))
        side = self.description["size"]
        plain, mirrored = resize(single(logits), (side, side)).softmax(1)
        return ((plain + mirrored.flip(2)) / 2 if self.description["flip"] else plain)[None]

    def _softmax(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padding = (0, max(0, 32 - width), 0, max(0, 32 - height))
        images = F.pad(images, padding) if any(padding) else images
        if self.precision == "bf16":  # the layout in which convolutions are computed
            images = images.contiguous(memory_format=torch.channels_last)
        with half(self.device, self.precision):
            logits = self.network(images)
        return single(logits)[..., :height, :width].softmax(1)

    def _tiled(self, photos: Sequence[Image.Image]) -> Tensor:
        """As ``_mirrored``, tile by tile, blended linearly where tiles overlap."""
        width, height = photos[0].size
        rows, columns = spans(height, self.tile), spans(width, self.tile)
        total = torch.zeros(len(photos), len(self.classes) + 1, height, width)
        for (top, bottom), down in zip(rows, weights(rows), strict=True):
            for (left, right), across in zip(columns, weights(columns), strict=True):
                for index, photo in enumerate(photos):
                    part = self._mirrored([photo.crop((left, top, right, bottom))])[0].cpu()
                    part *= down[:, None]
                    part *= across
                    total[index, :, top:bottom, left:right] += part
        return total


def load(
    path: Path | str,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Asked = "auto",
) -> Model:
    """Load a trained segmentation network.

    Args:
        path: a model file, a folder of ``esol export --to hub``, or a run folder whose stage 8
            (segment) is done; logs a warning if the masks that the network learned from have been
            replaced since.
        device: auto: a GPU if there is one.
        precision: no: float32. bf16: bfloat16. auto: bfloat16 on a processor that computes it
            natively, else float32. Probabilities are float32 in any case.

    Raises:
        InputError: no such file, not a model file, damaged, of a newer version; no such device, or
            not of this precision.

    Examples:
        >>> model = load("runs/mine")
        >>> prediction = model.predict("photos/images/00002.jpg")
        >>> prediction.mask.shape, prediction.scores.shape, model.classes[0]
        ((64, 49), (7, 64, 49), 'anchor')
    """
    path = Path(path)
    if (path / WEIGHTS).is_file() and not (path / DESCRIPTION).is_file():
        path /= WEIGHTS
    elif path.is_dir():
        run, path = path, RunFolder(path).weights("segment")
        if not (run / DESCRIPTION).is_file() and not path.is_file():
            raise InputError(
                f"{run}: not the folder of a run (no {DESCRIPTION}); name one, or a model file"
            )
        if not path.is_file():
            raise InputError(
                f"{run}: has no {path.relative_to(run).as_posix()}; run the stage segment there,"
                " or name a model file"
            )
        if RunFolder(run).lost_its_network():
            log.warning("%s: of an earlier command; the run has segment.network: none now", path)
        elif not RunFolder(run).is_current("segment"):
            log.warning(
                "%s: unfinished, or older than the masks of its run; run the stage segment again",
                path,
            )
    segmenter, description = load_bundle(path)
    return Model(segmenter, description, device_of(device), path, precision=precision)
