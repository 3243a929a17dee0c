"""Training of the pose network."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posewire.joints import JointSet, joint_set
from posewire_models.architectures import NETWORKS, POSE_ARCHITECTURES
from posewire_models.crops import BOX_SCALE, normalise
from posewire_models.deconv_head import PoseNetConfig
from posewire_models.heatmaps import decode_heatmaps, gaussian_heatmaps
from posewire_models.training.batch_norm import unfold_batch_norms
from posewire_models.training.checkpoint import load_fitting, start_file
from posewire_models.training.config import build
from posewire_models.training.contact_sheet import draw_poses, sheet
from posewire_models.training.devices import Processes, autocast
from posewire_models.training.drawn_people import DrawnPeopleConfig, draw_people
from posewire_models.training.loop import Trained, train
from posewire_models.training.loop_config import MOST_THREADS, LoopConfig
from posewire_models.training.losses import masked_mse
from posewire_models.training.measures import keypoint_similarity, pck
from posewire_models.training.patches import PatchGeometry, PatchSet, StreamedPatches, load_patches
from posewire_models.training.people import Picture, spread
from posewire_models.training.pose_augment import PoseAugmentConfig, PoseAugmenter
from posewire_models.training.sources import SourceConfig, held_out_pictures, read_source
from posewire_models.weights import WeightsError

__all__ = ["PoseTask", "PoseTrainConfig", "train_pose"]

_log = logging.getLogger(__name__)

_HEAD = ("deconv_layers.", "final_layer.")


@dataclass(frozen=True, kw_only=True)
class PoseTrainConfig:
    """Everything about a run of `train_pose`.

    Attributes:
        loop: length, learning rate, precision, folder.
        sources: data sets to train on; the held-out parts of those with a split are measured on.
        held_out: data sets that are only measured on.
        drawn: people who are drawn at the start, in addition to those of the sources; only with `in_memory`.
        data_root: what the sources' paths are relative to.
        architecture: one of `POSE_ARCHITECTURES`.
        network: settings of that network (its config's fields).
        joints: name of the joint set that is trained.
        sigma: of the target Gaussians in heatmap cells.
        augment: random changes of each sample.
        patch_side, patch_crop_height: see `PatchGeometry`.
        box_scale: see there; must also be that in the bundle's `settings`.
        joints_needed: people with fewer labelled joints are left out.
        init_from: weights of the same architecture to start from (tensors that fit by name and shape are loaded), a
            path as it is or under `data_root`.
        init_trunk: weights of the trunk alone, with folded batch norms; a path like `init_from`.
        device: `auto`, `cpu` or `cuda`.
        loaders: threads that decode pictures.
        in_memory: whether people are cut out once at the start and kept, or else whenever they are needed.
        held_out_limit: largest number of people measured per source, evenly spread over it.
    """

    loop: LoopConfig
    sources: tuple[SourceConfig, ...]
    held_out: tuple[SourceConfig, ...] = ()
    drawn: DrawnPeopleConfig = field(default_factory=DrawnPeopleConfig)
    data_root: Path = Path()
    architecture: str = "pose_resnet"
    network: dict[str, Any] = field(default_factory=dict)
    joints: str = "coco17"
    sigma: float = 2.0
    augment: PoseAugmentConfig = field(default_factory=PoseAugmentConfig)
    patch_side: int = 384
    patch_crop_height: int = 240
    box_scale: float = BOX_SCALE
    joints_needed: int = 1
    init_from: Path | None = None
    init_trunk: Path | None = None
    device: str = "auto"
    loaders: int = 2
    in_memory: bool = True
    held_out_limit: int = 500

    def __post_init__(self) -> None:
        if self.architecture not in POSE_ARCHITECTURES:
            raise ValueError(f"architecture {self.architecture!r} must be one of {', '.join(POSE_ARCHITECTURES)}")
        if not self.sources:
            raise ValueError("sources is empty; name at least one data set")
        if not 0 < self.sigma <= 100 or self.joints_needed < 1 or self.held_out_limit < 1:
            raise ValueError("sigma lies in 0..100, above 0; joints_needed and held_out_limit must be at least 1")
        if not 1 <= self.loaders <= MOST_THREADS or not 1 <= self.patch_side <= 4096:
            raise ValueError(f"loaders lies in 1..{MOST_THREADS}, patch_side in 1..4096")
        if (self.drawn.posed or self.drawn.scenes) and not self.in_memory:
            raise ValueError("drawn people are kept in memory; leave out drawn, or in_memory = false")
        if (heatmaps := self.network_config().joints) != len(self.joint_set):
            raise ValueError(
                f"network.joints {heatmaps} must be {len(self.joint_set)}, the number of joints of {self.joints!r}; "
                "leave it out"
            )

    @property
    def joint_set(self) -> JointSet:
        """The joints that are trained."""
        return joint_set(self.joints)

    def network_config(self) -> PoseNetConfig:
        """The network's own settings, one heatmap per joint of `joints`."""
        kind: type[PoseNetConfig] = NETWORKS[self.architecture][0]
        return build(kind, {"joints": len(self.joint_set), **self.network}, "network")

    def build_network(self) -> nn.Module:
        """A network with these settings and random weights from the seed."""
        torch.manual_seed(self.loop.seed)
        return NETWORKS[self.architecture][1](self.network_config())


class PoseTask:
    """A `Task` for the loop: heatmaps of person crops."""

    def __init__(
        self,
        config: PoseTrainConfig,
        network: nn.Module,
        people: PatchSet | StreamedPatches,
        rows: Tensor,
        held_out: dict[str, PatchSet],
        device: torch.device,
    ) -> None:
        self.config, self.device = config, device
        self.net_config = config.network_config()
        # Both oneDNN and cuDNN are fastest with "channels last".
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.people = people.to(device) if isinstance(people, PatchSet) else people
        self.rows = rows
        self.held_out = held_out
        self.examples = len(rows)
        self.augmenter = PoseAugmenter(config.augment, config.joint_set, people.geometry, self.net_config.input_size)

    def batch(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented crops, their heatmaps and the weights of their joints."""
        crops, joints = self.augmenter(*self._taken(self.rows[rows]), generator)
        targets = gaussian_heatmaps(
            joints[..., :2] / self.net_config.stride, self.net_config.output_size, self.config.sigma
        )
        return crops, targets, joints[..., 2]

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Masked MSE."""
        crops, targets, weights = batch
        return masked_mse(self._heatmaps(network, crops), targets, weights)

    def measure(self, network: nn.Module) -> dict[str, float]:
        """PCK@0.2 and the share of people above OKS 0.5 and 0.75, per source."""
        figures = {}
        for name, people in self.held_out.items():
            predicted, labels, _ = self.predict(network, people)
            zoom = self.net_config.input_size[0] / people.geometry.crop_height
            similar = keypoint_similarity(predicted, labels, people.areas * zoom**2, self.config.joint_set)
            figures[f"{name}/pck"] = pck(predicted, labels, self.config.joint_set)
            figures[f"{name}/oks50"] = float((similar > 0.5).float().mean())
            figures[f"{name}/oks75"] = float((similar > 0.75).float().mean())
        return figures

    def picture(self, network: nn.Module) -> Tensor | None:
        """Poses of held-out people, and examples of training crops."""
        parts = []
        for people in self.held_out.values():
            first = PatchSet(people.pixels[:16], people.joints[:16], people.areas[:16], people.geometry)
            predicted, _, crops = self.predict(network, first)
            parts.append(draw_poses(crops, predicted, self.config.joint_set))
        rows = self.rows[torch.linspace(0, self.examples - 1, 16).long()]
        crops, joints = self.augmenter(*self._taken(rows), torch.Generator().manual_seed(0))
        parts.append(draw_poses(crops, joints, self.config.joint_set))
        return sheet(torch.cat(parts))

    @torch.no_grad()
    def predict(self, network: nn.Module, people: PatchSet, batch: int = 64) -> tuple[Tensor, Tensor, Tensor]:
        """Joints found in unaugmented crops and their labels, `(n, k, 3)` in crop pixels, and the crops."""
        found, labels, seen = [], [], []
        for start in range(0, len(people), batch):
            crops, joints = self.augmenter.plain(
                people.pixels[start : start + batch].to(self.device),
                people.joints[start : start + batch].to(self.device),
            )
            decoded = decode_heatmaps(self._heatmaps(network, crops).float())
            decoded[..., :2] *= self.net_config.stride
            found.append(decoded.cpu())
            labels.append(joints.cpu())
            seen.append(crops[:16].cpu())
        return torch.cat(found), torch.cat(labels), torch.cat(seen)

    def plain_inputs(self, rows: Tensor) -> Tensor:
        """The network's inputs for these examples without augmentation."""
        crops, _ = self.augmenter.plain(*self._taken(rows))
        return normalise(crops, self.net_config.pixel_mean, self.net_config.pixel_std)

    def _taken(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        pixels, joints = self.people.take(rows)
        return pixels.to(self.device), joints.to(self.device)

    def _heatmaps(self, network: nn.Module, crops: Tensor) -> Tensor:
        images = normalise(crops, self.net_config.pixel_mean, self.net_config.pixel_std)
        images = images.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.config.loop.precision):
            heatmaps: Tensor = network(images)
        return heatmaps


def train_pose(config: PoseTrainConfig, *, resume: bool = False, **loop: Any) -> Trained:
    """Train a pose network according to the config; keyword arguments are passed to `train`.

    Raises:
        LabelFileError, WeightsError, ValueError: data or weights are missing or faulty.
    """
    processes = Processes.start(config.device, config.loop.threads)
    prepare = partial(_prepare, config, processes, start_weights=not resume)
    return train(prepare, config.loop, processes, resume=resume, **loop)


def _prepare(config: PoseTrainConfig, processes: Processes, *, start_weights: bool) -> PoseTask:
    size = config.network_config().input_size
    geometry = PatchGeometry(
        side=config.patch_side,
        crop_height=config.patch_crop_height,
        aspect=size[1] / size[0],
        box_scale=config.box_scale,
    )
    people: PatchSet | StreamedPatches
    if config.in_memory:
        people, rows = _people_in_memory(config, geometry)
    else:
        pictures = [one for source in config.sources for one in _read(config, source) for _ in range(source.repeat)]
        people = StreamedPatches(
            pictures,
            geometry,
            joints_needed=config.joints_needed,
            workers=config.loaders,
            name=" and ".join(_trained_on(source) for source in config.sources),
        )
        rows = torch.arange(len(people))
    held_out = _held_out(config, geometry) if processes.first else {}
    task = PoseTask(config, config.build_network(), people, rows, held_out, processes.device)
    if start_weights:
        _start(config, task)
    return task


def _people_in_memory(config: PoseTrainConfig, geometry: PatchGeometry) -> tuple[PatchSet, Tensor]:
    """All people of the sources and those drawn, and the rows of an epoch, in which some are repeated."""
    parts = [_cut_out(config, _read(config, source), geometry, _trained_on(source)) for source in config.sources]
    for source, part in zip(config.sources, parts, strict=True):
        _log.info("%s %s: %d people", source.format, source.images, len(part))
    repeats = [source.repeat for source in config.sources]
    drawn = draw_people(config.drawn, config.data_root, config.joint_set, geometry, workers=config.loaders)
    if drawn is not None:
        _log.info("drawn: %d people", len(drawn))
        parts.append(drawn)
        repeats.append(1)
    starts = itertools.accumulate((len(part) for part in parts), initial=0)
    rows = torch.cat(
        [
            torch.arange(start, start + len(part)).repeat(repeat)
            for part, repeat, start in zip(parts, repeats, starts, strict=False)
        ]
    )
    return PatchSet.joined(parts), rows


def _held_out(config: PoseTrainConfig, geometry: PatchGeometry) -> dict[str, PatchSet]:
    """The people to measure on, by source."""
    kept = held_out_pictures(config.sources, config.held_out, config.data_root, config.joint_set)
    return {
        name: _cut_out(
            config,
            spread(pictures, config.held_out_limit, config.joints_needed),
            geometry,
            f"what is held out of {name} ({pictures[0].path.parent})",
        )
        for name, pictures in kept.items()
    }


def _read(config: PoseTrainConfig, source: SourceConfig) -> list[Picture]:
    return read_source(source, config.data_root, config.joint_set, held_out=False)


def _trained_on(source: SourceConfig) -> str:
    return f"what is trained on of {source.format} ({source.images})"


def _cut_out(config: PoseTrainConfig, pictures: list[Picture], geometry: PatchGeometry, name: str) -> PatchSet:
    return load_patches(pictures, geometry, joints_needed=config.joints_needed, workers=config.loaders, name=name)


def _check_trunk(network: nn.Module, taken: set[str], file: Path) -> None:
    """Check that the whole trunk was loaded: a shallower ResNet fits a deeper one, and leaves half of it random.

    Raises:
        WeightsError: a part of the trunk was not in the file.
    """
    missing = [name for name, _ in network.named_parameters() if name not in taken and not name.startswith(_HEAD)]
    if missing:
        raise WeightsError(
            f"{file} has no {missing[0]} of this size, nor {len(missing) - 1} more parts of the trunk: it is of another"
            " ResNet than network.depth says; give its weights as init_trunk"
        )


def _start(config: PoseTrainConfig, task: PoseTask) -> None:
    """Load the weights that training starts from."""
    if config.init_trunk:
        prefix = "features." if config.architecture == "pose_mobilenet" else ""
        file = start_file(config.init_trunk, config.data_root)
        taken = load_fitting(task.network, file, prefix=prefix)
        if config.architecture == "pose_resnet":
            _check_trunk(task.network, taken, file)
        generator = torch.Generator().manual_seed(config.loop.seed)
        some = task.rows[torch.randperm(task.examples, generator=generator)[:512]]
        trunk = getattr(task.network, "features", None)
        if trunk is not None:
            unfold_batch_norms(trunk, [task.plain_inputs(rows) for rows in some.chunk(8)])
    if config.init_from:
        load_fitting(task.network, start_file(config.init_from, config.data_root))
