"""`posewire demo`: tracking, shown on a synthetic scene with ground truth, or on the user's own video."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import typer
from rich.table import Table

from posewire import Client, FrameResult, ServerInfo, SourceFrame, StreamInfo, TrackerSettings
from posewire.cli.console import plain_console
from posewire.cli.interrupts import Interrupts
from posewire.cli.outputs import check_outputs, check_video_output
from posewire.cli.private_server import ServerChoice, require_detector
from posewire.cli.progress import waiting
from posewire.cli.quantities import quantity
from posewire.cli.streaming import Outcome, check_source, connected, consume, report
from posewire.cli.track import JPEG_QUALITY
from posewire.results import Image
from posewire.sources import ArraySource, SourceLike
from posewire.synth import FrameTruth, Scene, SceneConfig, Score, Scorer
from posewire.writers import VideoWriter

__all__ = ["DemoJob", "run_demo"]

_LEAST_VISIBLE_FOR_A_BOX = 0.25
_TRUE_BOXES = "boxes: ground truth (no detector in the bundle)"


@dataclass(frozen=True)
class DemoJob:
    """The job of `demo`.

    Attributes:
        source: the user's own; None: a synthetic scene.
        server: to use.
        settings: of the tracker.
        scene: settings of the synthetic scene.
        render: the annotated video.
        seconds: maximum length of the source.
        frames: maximum number of frames of the source; overrides `seconds`.
        quiet: print only errors.
    """

    source: str | None
    server: ServerChoice
    settings: TrackerSettings
    scene: SceneConfig
    render: Path
    seconds: float | None = None
    frames: int | None = None
    quiet: bool = False


class _ScoredScene:
    """The frames of a scene, with or without their true boxes; keeps their ground truth until their results arrive.

    Attributes:
        with_boxes: whether the frames have their true boxes.
    """

    def __init__(self, scene: Scene, *, with_boxes: bool) -> None:
        self._scene = scene
        self.with_boxes = with_boxes
        self._truths: dict[int, FrameTruth] = {}
        self._scorer: Scorer | None = None

    def __len__(self) -> int:
        return len(self._scene)

    def __iter__(self) -> Iterator[SourceFrame]:
        rng = np.random.default_rng(self._scene.config.seed)
        for number, frame in enumerate(self._scene):
            truth = frame.truth
            self._truths[number] = truth
            boxes = truth.boxes[truth.seen(_LEAST_VISIBLE_FOR_A_BOX)]
            # In random order, so that the order does not reveal identities.
            shown = rng.permutation(boxes) if self.with_boxes else None
            yield SourceFrame(number, truth.time_s, image=frame.image, boxes=shown)

    def score(self, result: FrameResult, info: StreamInfo) -> None:
        """Compare a result with the ground truth."""
        truth = self._truths.pop(result.frame)
        if not result.tracked:
            return
        if self._scorer is None:
            remembered = info.settings.tracker.queue_length
            self._scorer = (
                Scorer(info.joint_set) if remembered is None else Scorer(info.joint_set, longest_gap=remembered - 1)
            )
        people = result.people
        self._scorer.add(
            truth,
            np.array([person.id for person in people], np.int64),
            np.array([person.box_xyxy for person in people], np.float32).reshape(-1, 4),
            np.array([person.joints for person in people], np.float32).reshape(-1, len(info.joint_set), 3),
        )

    @property
    def total(self) -> Score | None:
        """The score of the frames so far."""
        return self._scorer.score() if self._scorer else None


def run_demo(job: DemoJob) -> None:
    """Run the demo and print the results; exits with status 1 or 130 unless every frame was tracked."""
    with Interrupts() as interrupts:
        check_outputs({"--render": job.render}, [] if job.source is None else [job.source])
        check_video_output("--render", job.render)
        if job.source is not None:
            check_source(job.source)
        with connected(job.server, quiet=job.quiet) as (client, info):
            show = _on_scene if job.source is None else _on_source
            outcome, score = show(job, client, info, interrupts)
    if not job.quiet:
        _print_results(outcome, score)
    report(outcome, video=job.render, quiet=job.quiet)
    if outcome.status:
        raise typer.Exit(outcome.status)


def _on_source(job: DemoJob, client: Client, info: ServerInfo, interrupts: Interrupts) -> tuple[Outcome, None]:
    assert job.source is not None
    require_detector(info, job.server)
    about = f"people found by {info.models.detector}; {_networks_in_words(job, info)}"
    return _stream(job, client, job.source, about, None, interrupts), None


def _on_scene(job: DemoJob, client: Client, info: ServerInfo, interrupts: Interrupts) -> tuple[Outcome, Score | None]:
    if info.has_detector:
        boxes = f"people found by {info.models.detector}"
    else:
        boxes = (
            f"bundle {info.models.bundle!r} has no person detector yet: the scene's TRUE BOXES are sent with each frame"
        )
    scored = _ScoredScene(Scene(job.scene), with_boxes=not info.has_detector)
    source = ArraySource(
        scored, fps=job.scene.fps, name=f"a synthetic scene of {quantity(job.scene.people, 'person', 'people')}"
    )
    return _stream(job, client, source, f"{boxes}; {_networks_in_words(job, info)}", scored, interrupts), scored.total


def _stream(
    job: DemoJob, client: Client, source: SourceLike, about: str, scored: _ScoredScene | None, interrupts: Interrupts
) -> Outcome:
    """Track a source, or the frames of a scene, which already has the requested length."""
    frames = job.frames if scored is None else None
    seconds = job.seconds if scored is None and frames is None else None
    with contextlib.ExitStack() as stack:
        with waiting("opening the source", quiet=job.quiet):
            stream = stack.enter_context(
                client.track(
                    source, max_frames=frames, keep_images=True, jpeg_quality=JPEG_QUALITY, tracker=job.settings
                )
            )
        assert stream.source is not None
        if not job.quiet:
            # The source's name, which does not contain a camera's password.
            plain_console(stderr=True).print(f"posewire demo: {stream.source.name}, {about}", soft_wrap=True)
        info = stream.info
        video = stack.enter_context(VideoWriter(job.render, info.joint_set, fps=stream.source.fps))

        def each(result: FrameResult) -> FrameResult:
            if scored is None:
                return result
            scored.score(result, info)
            if scored.with_boxes and result.image is not None:
                return replace(result, image=_captioned(result.image, _TRUE_BOXES))
            return result

        return consume(stream, [video], interrupts, quiet=job.quiet, seconds=seconds, each=each)


def _networks_in_words(job: DemoJob, info: ServerInfo) -> str:
    server = "a private server" if job.server.address is None else job.server.address
    return f"poses by {info.models.pose} of bundle {info.models.bundle!r} on {info.device}, over gRPC from {server}"


def _captioned(image: Image, caption: str) -> Image:
    """A copy with a line of text at the bottom."""
    shown = image.copy()
    scale = max(0.35, image.shape[1] / 1400)
    (width, height), base = cv2.getTextSize(caption, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
    top = max(0, shown.shape[0] - height - 2 * base)
    shown[top:, : width + 2 * base] //= 3
    place = (base, shown.shape[0] - base)
    cv2.putText(shown, caption, place, cv2.FONT_HERSHEY_DUPLEX, scale, (250, 250, 250), 1, cv2.LINE_AA)
    return shown


def _print_results(outcome: Outcome, score: Score | None) -> None:
    account = outcome.account
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("frames", f"{account.tracked} tracked, {account.failed} failed, {account.dropped} dropped")
    if account.tracked > 1:
        table.add_row("speed", f"{account.fps:.1f} frames/s")
    if account.latencies_ms.count:
        percentiles = ", ".join(f"{account.latencies_ms.percentile(p):.0f} ms ({p} %)" for p in (50, 95, 99))
        table.add_row("latency", f"{percentiles}, with several frames under way at a time")
        stages = ", ".join(f"{name} {times.percentile(50):.1f}" for name, times in account.stages_ms.items())
        table.add_row("server, median ms", stages)
    if score is not None:
        table.add_row(
            "identities",
            f"{quantity(score.identities, 'person', 'people')}, {quantity(score.ids_used, 'id')}, "
            f"{quantity(score.identity_switches, 'identity switch', 'identity switches')} "
            f"({score.switches_on_return} of people who had been out of sight for long)",
        )
        table.add_row(
            "people",
            f"{score.people} in all frames, {score.missed} missed, {score.false_people} found who are not there",
        )
        table.add_row(
            "joints",
            f"{score.mean_error_px:.1f} px mean error, {100 * score.pck:.1f} % within half a head (PCKh 0.5)",
        )
    else:
        table.add_row("identities", f"{account.identities} given")
    plain_console().print(table)
