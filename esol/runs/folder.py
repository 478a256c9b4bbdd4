"""Run folder: where a run keeps what, and what its finished stages say of themselves."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.errors import InputError
from esol.runs.corrections import FOLDER, Corrections, read_corrections
from esol.runs.manifest import damaged, digest, is_manifest
from esol.runs.stages import STAGES
from esol.settings import REFINED_MAPS, Settings
from esol.settings.load import stored_settings
from esol.system.read import read_json, read_yaml

MANIFEST = "manifest.json"
"""File that a stage writes last."""

IDENTITY = "identity.json"
"""File that a stage writes first: everything that its outputs depend on."""

SETTINGS = "settings.yaml"
"""File of a run, and of a stage, with all settings of the last command."""

DESCRIPTION = "run.json"
"""File that makes a folder that of a run: it names the data folder, and says what timm knows of the
networks' weights."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder: where each stage keeps its outputs, and where readers find them.

    Attributes:
        path: the folder; it need not exist.
    """

    path: Path

    def stage(self, name: str) -> Path:
        """Folder of a stage."""
        return self.path / STAGES[name].folder

    def weights(self, stage: str, kind: str = "") -> Path:
        """File of the network that a stage trains; of a compared method's, by kind of maps."""
        return self.stage(stage) / STAGES[stage].weights.format(kind)

    def maps(self, kind: str) -> Path:
        """Folder of the maps of one kind, NAME.npz."""
        return self.stage(stage_of_maps(kind)) / kind

    def masks(self, kind: str) -> Path:
        """Folder of the masks of one kind, NAME.png: seeds, crf, masks, corrected, segmentation."""
        return {
            "seeds": self.stage("seeds"),
            "crf": self.stage("refine") / "crf",
            "masks": self.stage("masks"),
            "corrected": self.path / FOLDER,
            "segmentation": self.stage("segment") / "predictions",
        }[kind]

    @property
    def corrections(self) -> Corrections:
        """Corrected masks, read from the disk.

        Raises:
            InputError: their manifest is damaged.
        """
        return read_corrections(self.path)

    def map_folders(self, settings: Settings) -> dict[str, Path]:
        """Kind of maps -> their folder: the method's, and refined ones if they are up to date."""
        kinds: list[str] = list(settings.map_kinds)
        if self.is_current("refine"):
            kinds += [kind for kind in REFINED_MAPS if kind in settings.refine.methods]
        return {kind: self.maps(kind) for kind in kinds}

    def mask_folders(self, settings: Settings) -> dict[str, Path]:
        """Kind of masks -> their folder, as far as their stages are on and up to date.

        The folder of corrected masks holds no others; what is not corrected is a pseudo mask.
        """
        kinds = []
        if "crf" in settings.refine.methods and self.is_current("refine"):
            kinds.append("crf")
        if self.is_current("masks"):
            kinds += ["masks", "corrected"] if self.corrections.photos else ["masks"]
        if settings.segment.network != "none" and self.is_current("segment"):
            kinds.append("segmentation")
        return {kind: self.masks(kind) for kind in kinds}

    def is_finished(self, name: str) -> bool:
        """Whether a stage has a manifest, which is written last."""
        return (self.stage(name) / MANIFEST).is_file()

    def is_current(self, name: str) -> bool:
        """Whether a stage is finished, and made from what the stages before it hold now."""
        if not self.is_finished(name):
            return False
        return all(
            self.is_current(earlier) and self.outputs_of(earlier) == outputs
            for earlier, outputs in self.made_from(name).items()
        )

    def manifest(self, name: str) -> dict[str, Any]:
        """Manifest of a finished stage.

        Raises:
            InputError: the stage is not finished, or its manifest is damaged.
        """
        path = self.stage(name) / MANIFEST
        if not path.is_file():
            raise InputError(f"{path.parent} is not finished; run the stage {name} first")
        return read_record(path)

    def made_from(self, name: str) -> dict[str, Any]:
        """Earlier stage -> digest of its outputs, as a finished stage found them.

        Raises:
            InputError: the stage is not finished, or its manifest is damaged.
        """
        match self.manifest(name)["identity"]:
            case {"after": {**after}} if after.keys() <= STAGES.keys():
                return {str(stage): outputs for stage, outputs in after.items()}
        raise self.damaged(name)

    def outputs_of(self, name: str) -> dict[str, Any]:
        """Digest of a finished stage's outputs: what a later stage's identity says of it."""
        outputs: dict[str, Any] = self.manifest(name)["outputs"]
        return outputs

    def check_outputs(self, name: str) -> None:
        """Refuse a finished stage whose files are not those that it wrote.

        Raises:
            InputError: they are not; or it is not finished.
        """
        path = self.stage(name)
        if digest(path) != self.outputs_of(name):
            raise InputError(f"{path}: changed since it was made; remove it and run {name} again")

    def damaged(self, name: str) -> InputError:
        """Error for a stage whose manifest is not what this program writes."""
        return damaged(self.stage(name) / MANIFEST)

    def metrics(self) -> dict[str, Any]:
        """What the stage evaluate measured: ``mask_set``, and ``lists``.

        Raises:
            InputError: it is not finished, or damaged.
        """
        path = self.stage("evaluate") / "metrics.json"
        content = read_json(path)
        if not isinstance(content, dict) or not {"lists", "mask_set"} <= content.keys():
            raise InputError(f"{path} is damaged; remove {path.parent} and run evaluate again")
        self.check_outputs("evaluate")
        return content

    def settings(self) -> Settings:
        """Settings of the last command.

        Raises:
            InputError: there are none, or another version wrote them.
        """
        path = self.path / SETTINGS
        if not path.is_file():
            raise InputError(f"{path} is missing; run the last esol run command again")
        return stored_settings(path)

    def lost_its_network(self) -> bool:
        """Whether the last command had no segmentation network, which leaves an earlier one's."""
        with suppress(InputError):
            match read_yaml(self.path / SETTINGS):
                case {"segment": {"network": "none"}}:
                    return True
        return False

    def description(self) -> dict[str, Any]:
        """What its description holds; nothing where that is missing, or damaged."""
        with suppress(InputError):
            content = read_json(self.path / DESCRIPTION)
            return content if isinstance(content, dict) else {}
        return {}

    def data_root(self) -> Path:
        """Data folder that the run was made from; it may have moved since.

        Raises:
            InputError: this is not a run folder, or its record is damaged.
        """
        path = self.path / DESCRIPTION
        if not path.is_file():
            raise InputError(
                f"{self.path} is not a run folder (no {DESCRIPTION}); give what esol run wrote"
            )
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("data"), str):
            raise InputError(f"{path} is damaged; run the last esol run command again")
        return Path(content["data"])


def stage_of_maps(kind: str) -> str:
    """The stage that makes maps of a kind."""
    return "refine" if kind in REFINED_MAPS else "cams"


def read_record(path: Path) -> dict[str, Any]:
    """Content of a stage's identity.json or manifest.json.

    Raises:
        InputError: it is damaged.
    """
    try:
        content = read_json(path)
    except InputError:
        content = None
    complete = is_manifest(content) if path.name == MANIFEST else isinstance(content, dict)
    if not complete:
        raise damaged(path)
    record: dict[str, Any] = content
    return record
