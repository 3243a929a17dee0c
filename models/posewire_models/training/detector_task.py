"""Training of the person detector."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posewire.joints import COCO17
from posewire_models.architectures import NETWORKS
from posewire_models.crops import normalise
from posewire_models.picture_net import PictureNetConfig
from posewire_models.training.batch_norm import unfold_batch_norms
from posewire_models.training.canvases import CanvasComposer, CanvasConfig, LabelledImage, letterboxed, load_images
from posewire_models.training.checkpoint import load_fitting, start_file
from posewire_models.training.colour import recolour
from posewire_models.training.config import build
from posewire_models.training.contact_sheet import draw_boxes, sheet
from posewire_models.training.detector_kinds import DETECTOR_KINDS, DetectorTargets
from posewire_models.training.devices import Processes, autocast
from posewire_models.training.loop import Trained, train
from posewire_models.training.loop_config import MOST_THREADS, LoopConfig
from posewire_models.training.measures import average_precision
from posewire_models.training.readers.teacher import with_teacher_people
from posewire_models.training.sources import SourceConfig, held_out_pictures, read_source
from posewire_models.training.synthetic_scenes import render_scenes

__all__ = ["DetectorTask", "DetectorTrainConfig", "train_detector"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DetectorTrainConfig:
    """Everything about a run of `train_detector`.

    Attributes:
        loop: length, learning rate, precision, folder.
        sources: data sets. Pictures in which not everybody is labelled need a `teacher`, or they are left out. The
            held-out parts of those with a split are measured on.
        held_out: data sets that are only measured on; here too, only pictures in which everybody is labelled.
        data_root: what the sources' paths are relative to.
        architecture: `center_detector` or `yolox`.
        network: settings of the architecture's configuration.
        scene: how training canvases are composed.
        scenes: number of synthetic scenes that are rendered at the start, in addition to the sources.
        frames_a_scene: frames of each.
        longest_side: pictures are kept in memory with at most this many pixels per side.
        init_from: weights of a detector to start from (tensors that fit by name and shape are loaded), a path as it is
            or under `data_root`.
        init_trunk: weights of a trunk (with or without a pose network's head), for `yolox` of the whole network; with
            or without folded batch norms; a path like `init_from`.
        device: `auto`, `cpu` or `cuda`.
        loaders: threads that decode pictures and compose canvases.
    """

    loop: LoopConfig
    sources: tuple[SourceConfig, ...]
    held_out: tuple[SourceConfig, ...] = ()
    data_root: Path = Path()
    architecture: str = "center_detector"
    network: dict[str, Any] = field(default_factory=dict)
    scene: CanvasConfig = field(default_factory=CanvasConfig)
    scenes: int = 0
    frames_a_scene: int = 8
    longest_side: int = 384
    init_from: Path | None = None
    init_trunk: Path | None = None
    device: str = "auto"
    loaders: int = 2

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty; name at least one data set")
        if self.scenes < 0 or self.frames_a_scene < 1:
            raise ValueError(f"scenes {self.scenes} must not be negative, frames_a_scene {self.frames_a_scene} not 0")
        if not 64 <= self.longest_side <= 16_384 or not 1 <= self.loaders <= MOST_THREADS:
            raise ValueError(f"longest_side lies in 64..16384, loaders in 1..{MOST_THREADS}")
        if self.architecture not in DETECTOR_KINDS:
            raise ValueError(f"architecture {self.architecture!r} must be one of {', '.join(DETECTOR_KINDS)}")
        self.network_config()

    def network_config(self) -> PictureNetConfig:
        """The network's own settings."""
        kind: type[PictureNetConfig] = NETWORKS[self.architecture][0]
        return build(kind, self.network, "network")

    def build_network(self) -> nn.Module:
        """A network with these settings and random weights from the seed."""
        torch.manual_seed(self.loop.seed)
        return NETWORKS[self.architecture][1](self.network_config())


class DetectorTask:
    """A `Task` for the loop: boxes of people on composed canvases."""

    def __init__(
        self,
        config: DetectorTrainConfig,
        network: nn.Module,
        images: list[LabelledImage],
        rows: Tensor,
        held_out: list[LabelledImage],
        device: torch.device,
    ) -> None:
        self.config, self.device = config, device
        self.net_config = config.network_config()
        self.kind = DETECTOR_KINDS[config.architecture](network)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.examples = len(rows)
        self.held_out = held_out
        # The list has repetitions, so that a mosaic's other pictures are drawn as often as an epoch shows them.
        self._composer = CanvasComposer(
            config.scene, [images[row] for row in rows.tolist()], self.net_config.input_size
        )
        self._pool = ThreadPoolExecutor(config.loaders, "canvases")

    def batch(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, DetectorTargets]:
        """Composed and recoloured canvases `(b, 3, h, w)` 0..255 and their targets."""
        seeds = torch.randint(2**62, (len(rows),), generator=generator).tolist()
        canvases = list(
            self._pool.map(lambda row, seed: self._composer(row, np.random.default_rng(seed)), rows.tolist(), seeds)
        )
        stacked = torch.from_numpy(np.stack([canvas.pixels for canvas in canvases])).to(self.device)
        images = stacked.permute(0, 3, 1, 2).float()
        images = recolour(images, generator, colour=self.config.scene.colour, blur=self.config.scene.blur)
        targets: DetectorTargets = self.kind.targets([(canvas.boxes, canvas.ignored) for canvas in canvases])
        return images, targets.to(self.device)

    def loss(self, network: nn.Module, batch: tuple[Tensor, DetectorTargets]) -> Tensor:
        """Loss of the architecture."""
        images, targets = batch
        return self.kind.loss(self._predictions(network, images), targets)

    def measure(self, network: nn.Module) -> dict[str, float]:
        """Average precision at IoU 0.5 on held-out pictures in which everybody is labelled."""
        if not self.held_out:
            return {}
        found = self.predict(network, self.held_out)
        truths = [(image.boxes, image.ignored) for image in self.held_out]
        return {"ap50": average_precision(found, truths, iou=0.5), "ap75": average_precision(found, truths, iou=0.75)}

    def predict(self, network: nn.Module, images: list[LabelledImage]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Boxes `(n, 5)` x1, y1, x2, y2, score of each image in its own pixels, best first."""
        found = []
        for image in images:
            boxed, scale = letterboxed(image, self.net_config.input_size)
            boxes, scores = self._decoded(network, boxed)
            kept = scores > 0.01
            found.append(torch.cat([boxes[kept] / scale, scores[kept, None]], dim=1).numpy())
        return found

    def picture(self, network: nn.Module) -> Tensor | None:
        """Boxes found in held-out pictures, and training canvases with their target boxes."""
        tiles = []
        for image in self.held_out[:: max(len(self.held_out) // 16, 1)][:16]:
            boxed, _ = letterboxed(image, self.net_config.input_size)
            boxes, scores = self._decoded(network, boxed)
            tiles.append(_drawn(boxed, boxes[scores > 0.3]))
        for row in torch.linspace(0, self.examples - 1, 16).long().tolist():
            canvas = self._composer(row, np.random.default_rng(row))
            tiles.append(_drawn(canvas, torch.from_numpy(canvas.boxes)))
        return sheet(torch.cat(tiles), columns=8)

    @torch.no_grad()
    def _decoded(self, network: nn.Module, boxed: LabelledImage) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(boxed.pixels).to(self.device).permute(2, 0, 1)[None].float()
        boxes, scores = self.kind.found(self._predictions(network, images))
        return boxes.cpu(), scores.cpu()

    def _predictions(self, network: nn.Module, images: Tensor) -> Any:
        inputs = normalise(images, self.net_config.pixel_mean, self.net_config.pixel_std)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.config.loop.precision):
            return network(inputs)


def _drawn(image: LabelledImage, boxes: Tensor) -> Tensor:
    return draw_boxes(torch.from_numpy(image.pixels).permute(2, 0, 1)[None].float(), [boxes])


def train_detector(config: DetectorTrainConfig, *, resume: bool = False, **loop: Any) -> Trained:
    """Train a person detector according to the config; keyword arguments are passed to `train`.

    Raises:
        LabelFileError, WeightsError, ValueError: data or weights are missing or faulty.
    """
    processes = Processes.start(config.device, config.loop.threads)
    prepare = partial(_prepare, config, processes, start_weights=not resume)
    return train(prepare, config.loop, processes, resume=resume, **loop)


def _prepare(config: DetectorTrainConfig, processes: Processes, *, start_weights: bool) -> DetectorTask:
    images: list[LabelledImage] = []
    rows = []
    for source in config.sources:
        pictures = read_source(source, config.data_root, COCO17, held_out=False, faces=False)
        if source.teacher:
            pictures = with_teacher_people(pictures, config.data_root / source.teacher)
        read = load_images(pictures, config.longest_side, config.loaders)
        _log.info("%s: %d of %d pictures tell of everybody", source.images, len(read), len(pictures))
        if not read:
            if complete := sum(picture.complete for picture in pictures):
                raise ValueError(f"{source.images}: none of the {complete} pictures that tell of everybody can be read")
            raise ValueError(
                f"{source.images}: none of its {len(pictures)} pictures tells of everybody in it; give this source a "
                "teacher that has labelled them, or leave it out"
            )
        rows.append(torch.arange(len(images), len(images) + len(read)).repeat(source.repeat))
        images += read
    rendered = render_scenes(
        config.scenes, config.frames_a_scene, config.longest_side, first_seed=0, workers=config.loaders
    )
    rows.append(torch.arange(len(images), len(images) + len(rendered)))
    images += rendered
    if not images:
        raise ValueError("there is nothing to learn from; give sources, or scenes above 0")
    held_out = _held_out(config) if processes.first else []
    task = DetectorTask(config, config.build_network(), images, torch.cat(rows), held_out, processes.device)
    if start_weights:
        _start(config, task)
    return task


def _held_out(config: DetectorTrainConfig) -> list[LabelledImage]:
    """The pictures to measure on."""
    kept = held_out_pictures(config.sources, config.held_out, config.data_root, COCO17)
    images: list[LabelledImage] = []
    for name, pictures in kept.items():
        read = load_images(pictures, config.longest_side, config.loaders)
        _log.info("held out, %s: %d of %d pictures tell of everybody", name, len(read), len(pictures))
        images += read
    return images


def _start(config: DetectorTrainConfig, task: DetectorTask) -> None:
    if config.init_trunk:
        pretrained = task.kind.pretrained
        prefix = "features." if config.network.get("trunk") == "mobilenet_v2" else ""
        load_fitting(pretrained, start_file(config.init_trunk, config.data_root), prefix=prefix)
        net = task.net_config
        generator = torch.Generator().manual_seed(config.loop.seed)
        batches = [
            normalise(task.batch(rows, generator)[0], net.pixel_mean, net.pixel_std)
            for rows in torch.randperm(task.examples, generator=generator)[:128].chunk(4)
        ]
        unfold_batch_norms(pretrained, batches)
    if config.init_from:
        load_fitting(task.network, start_file(config.init_from, config.data_root))
