"""The commands and their flags. This is cheap to import: what a command needs is imported when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from posewire.cli.access import access_given, with_access_flags
from posewire.cli.arguments import StrictGroup
from posewire.cli.evaluate import evaluate_app
from posewire.cli.failures import (
    IMPORT_FAILURES,
    CommandError,
    UsageError,
    as_flags,
    expected_failures,
    import_failure,
)
from posewire.cli.models import models
from posewire.cli.options import (
    BundleFlag,
    DetectEveryFlag,
    DetectorFlag,
    FlipTestFlag,
    FlowFlag,
    NoPropagationFlag,
    QueueLengthFlag,
    QuietFlag,
    RenderFlag,
    ResultFormat,
    ServerFlag,
    SimilarityFlag,
    SourceArgument,
    flip_test_option,
    parse_named_values,
    parse_size,
    tracker_settings,
)

__all__ = ["app"]

app = typer.Typer(
    name="posewire",
    cls=StrictGroup,
    help="Real-time, multi-person pose tracking over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(models)

_DELEGATED = {"allow_extra_args": True, "ignore_unknown_options": True}
_PRESETS = "easy, crossing, occlusion, fast-motion, crowd, camera-motion"


def _print_version(wanted: bool) -> None:
    if wanted:
        from posewire import __version__

        print(f"posewire {__version__}")
        raise typer.Exit


@app.callback()
def _posewire(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Real-time, multi-person pose tracking over gRPC."""


@app.command()
@with_access_flags
def track(
    source: SourceArgument,
    server: ServerFlag = None,
    out: Annotated[Path | None, typer.Option(metavar="F.jsonl", help="Result file; - for standard output.")] = None,
    out_format: Annotated[
        ResultFormat | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help=f"Format of the result file: {', '.join(ResultFormat)}.",
            show_default="jsonl",
        ),
    ] = None,
    render: RenderFlag = None,
    max_frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N frames.")] = None,
    reopen_for: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="If a camera or network stream stops, try to open it again for so long; ids go on.",
            show_default="0: it ends",
        ),
    ] = 0.0,
    source_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of FFmpeg's input, such as video_size=1280x720 or rtsp_transport=udp; repeatable.",
        ),
    ] = None,
    similarity: SimilarityFlag = None,
    no_propagation: NoPropagationFlag = False,
    queue_length: QueueLengthFlag = None,
    detect_every: DetectEveryFlag = None,
    bundle: BundleFlag = None,
    detector: DetectorFlag = None,
    flow: FlowFlag = None,
    flip_test: FlipTestFlag = None,
    name: Annotated[
        str, typer.Option(metavar="LABEL", help="Label of the stream in `posewire top` and the server's log.")
    ] = "",
    quiet: QuietFlag = False,
) -> None:
    """Follow people through a video, camera or network stream.

    The exit status is 0 only if every frame was tracked; a camera's frames may also be dropped.
    """
    with expected_failures():
        from posewire.cli.private_server import ServerChoice
        from posewire.cli.track import TrackJob, run_track

        if out_format is not None and out is None:
            raise UsageError(f"--format {out_format} is that of the result file; name one with --out")
        settings = tracker_settings(similarity, no_propagation, queue_length, detect_every)
        choice = ServerChoice(server, bundle, detector, flow, flip_test)
        results = out_format or ResultFormat.JSONL
        job = TrackJob(
            source,
            choice,
            settings,
            out,
            results,
            render,
            max_frames,
            reopen_for_s=reopen_for,
            source_options=parse_named_values("--source-option", source_option or ()),
            name=name,
            quiet=quiet,
        )
        run_track(job)


@app.command()
@with_access_flags
def run_dataset(
    videos: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with a video or a folder of pictures for each sequence.")
    ],
    gt: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of PoseTrack 2017 or 2018 annotations, one JSON file per sequence."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the predictions, which are named like the ground truth.")
    ],
    server: ServerFlag = None,
    parallel: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Number of sequences to track at the same time.")
    ] = 4,
    similarity: SimilarityFlag = None,
    no_propagation: NoPropagationFlag = False,
    queue_length: QueueLengthFlag = None,
    detect_every: DetectEveryFlag = None,
    bundle: BundleFlag = None,
    detector: DetectorFlag = None,
    flow: FlowFlag = None,
    flip_test: FlipTestFlag = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing predictions.")] = False,
    quiet: QuietFlag = False,
) -> None:
    """Track a data set in PoseTrack format, for `posewire eval posetrack` and the official tools.

    Existing predictions are kept, so an interrupted run can be resumed.
    """
    with expected_failures():
        from posewire.cli.private_server import ServerChoice
        from posewire.cli.run_dataset import DataSetJob, run_data_set

        settings = tracker_settings(similarity, no_propagation, queue_length, detect_every)
        choice = ServerChoice(server, bundle, detector, flow, flip_test)
        run_data_set(DataSetJob(videos, gt, out, choice, settings, parallel, overwrite, quiet))


@app.command()
@with_access_flags
def poses(
    image_dir: Annotated[Path, typer.Argument(metavar="IMAGE_DIR", help="Folder of pictures.")],
    out: Annotated[Path, typer.Option(metavar="DT.json", help="File for the COCO results.")],
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="COCO_GT.json", help="Take boxes and image ids from this ground truth instead of a detector."
        ),
    ] = None,
    server: ServerFlag = None,
    bundle: BundleFlag = None,
    detector: DetectorFlag = None,
    flip_test: Annotated[bool | None, flip_test_option("yes, on a private server")] = None,
    quiet: QuietFlag = False,
) -> None:
    """Estimate the poses in single pictures, and write COCO results with keypoints, bbox and score."""
    with expected_failures():
        from posewire.cli.poses import PosesJob, run_poses
        from posewire.cli.private_server import ServerChoice

        if server is None:  # accuracy matters more than speed
            flip_test = True if flip_test is None else flip_test
            if detector is None and boxes is None and "POSEWIRE_SERVER_DETECTOR" not in os.environ:
                detector = "bundle"
        # Single pictures need no flow, so a private server runs without it.
        flow = "none" if server is None else None
        choice = ServerChoice(server, bundle, detector, flow, flip_test)
        run_poses(PosesJob(image_dir, out, choice, boxes, quiet))


@app.command()
@with_access_flags
def demo(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="Video file, folder of pictures, camera number, or address (default: a synthetic scene).",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1e9,
            metavar="SECONDS",
            help="Length in seconds (default: 10 for a synthetic scene, all of a video).",
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Length in frames.")] = None,
    render: Annotated[Path, typer.Option(metavar="F.mp4", help="Annotated video to write.")] = Path(
        "posewire-demo.mp4"
    ),
    server: ServerFlag = None,
    bundle: BundleFlag = None,
    detector: DetectorFlag = None,
    flow: FlowFlag = None,
    flip_test: FlipTestFlag = None,
    similarity: SimilarityFlag = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Preset of the synthetic scene: {_PRESETS}.", show_default="crossing")
    ] = None,
    people: Annotated[
        int | None, typer.Option(help="Number of people in the synthetic scene (default: the preset's).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the synthetic scene.", show_default="0")] = None,
    quiet: QuietFlag = False,
) -> None:
    """Track people in a synthetic scene with ground truth, or in your own video, and report accuracy and speed."""
    with expected_failures():
        from posewire import TrackerSettings
        from posewire.cli.demo import DemoJob, run_demo
        from posewire.cli.private_server import ServerChoice
        from posewire.cli.synth import scene_config

        changes = {"people": people, "seed": seed}
        given = [name for name, value in {"preset": preset, **changes}.items() if value is not None]
        if source is not None and given:
            raise UsageError(
                f"{as_flags(given)} would change the synthetic scene, but {source} is shown; leave one out"
            )
        if frames is not None and seconds is not None:
            raise UsageError("--frames and --seconds both say how long it is; leave one out")
        preset = preset or "crossing"
        if source is None:
            changes["frames"] = frames or max(1, round((seconds or 10.0) * scene_config(preset, {}).fps))
        scene = scene_config(preset, changes)
        settings = TrackerSettings(similarity=similarity)
        choice = ServerChoice(server, bundle, detector, flow, flip_test)
        run_demo(DemoJob(source, choice, settings, scene, render, seconds, frames, quiet))


@app.command()
@with_access_flags
def top(
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the server.")] = "127.0.0.1:50051",
    every: Annotated[
        float, typer.Option(min=0.1, max=1e6, metavar="SECONDS", help="Refresh interval in seconds.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print the table once and exit.")] = False,
) -> None:
    """Watch the open streams of a server: frames per second, latency, drops. Stop it with Ctrl-C.

    On a server with tokens, only the streams of your own token are shown; an `admin` token shows all of them.
    """
    with expected_failures():
        from posewire.cli.top import TopJob, run_top

        run_top(TopJob(access_given(server), every, once))


@app.command()
@with_access_flags
def info(
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT,...", help="Address of a running server (default: this machine).")
    ] = None,
) -> None:
    """Show what is installed here, and what a server offers.

    Without --server, 127.0.0.1:50051 is asked; it is not an error if no server runs there.
    """
    with expected_failures():
        from posewire.cli.info import run_info

        run_info(server)


@app.command()
def synth(
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder for the scene; created if missing.")],
    preset: Annotated[str, typer.Option(help=f"Preset of the scene: {_PRESETS}.")] = "crossing",
    people: Annotated[int | None, typer.Option(help="Number of people (default: the preset's).")] = None,
    frames: Annotated[int | None, typer.Option(help="Number of frames (default: the preset's).")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Frame size, e.g. 640x480 (default: the preset's).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    fps: Annotated[float | None, typer.Option(help="Frames per second (default: the preset's).")] = None,
    flow: Annotated[bool, typer.Option("--flow", help="Also write the ground-truth optical flow (.npz).")] = False,
    frames_as: Annotated[
        Literal["mp4", "png"], typer.Option(help="Write frames as a compressed video or as lossless pictures.")
    ] = "mp4",
    quiet: QuietFlag = False,
) -> None:
    """Write a synthetic scene with exact ground truth: frames, PoseTrack annotations, optical flow."""
    with expected_failures():
        from posewire.cli.synth import run_synth, scene_config
        from posewire.synth.export import FramesAs

        width, height = parse_size(size) if size is not None else (None, None)
        changes = {"people": people, "frames": frames, "seed": seed, "fps": fps, "width": width, "height": height}
        config = scene_config(preset, changes)
        run_synth(out_dir, config, frames_as=FramesAs(frames_as), flow=flow, quiet=quiet)


@app.command()
def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token's holder, shown in logs and lists.")],
    streams: Annotated[int, typer.Option(min=0, help="Maximum number of concurrent streams (0: unlimited).")] = 0,
    fps: Annotated[
        float, typer.Option(min=0, help="Maximum frames per second over all streams and pictures (0: unlimited).")
    ] = 0.0,
    pixels: Annotated[int, typer.Option(min=0, help="Maximum size of a frame, width times height (0: unlimited).")] = 0,
    admin: Annotated[bool, typer.Option("--admin", help="Let `posewire top` show the streams of all tokens.")] = False,
    append_to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append the token's line to this token file of a server.")
    ] = None,
) -> None:
    """Create an access token for `posewire serve --tokens FILE`. It is printed once; the file stores its hash only."""
    with expected_failures():
        from posewire.cli.token import TokenJob, run_token

        run_token(TokenJob(name, streams, fps, pixels, admin, append_to))


@app.command()
@with_access_flags
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording made by `posewire serve --record`.")],
    server: ServerFlag = None,
    bundle: BundleFlag = None,
    detector: DetectorFlag = None,
    flow: FlowFlag = None,
    flip_test: FlipTestFlag = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, metavar="PIXELS", help="Maximum distance of two joints that count as equal.")
    ] = 0.01,
    quiet: QuietFlag = False,
) -> None:
    """Run a recorded stream again and compare the results: exit status 0 only if ids and joints are the same."""
    with expected_failures():
        from posewire.cli.private_server import ServerChoice
        from posewire.cli.replay import ReplayJob, run_replay

        run_replay(ReplayJob(file, ServerChoice(server, bundle, detector, flow, flip_test), tolerance, quiet))


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording made by `posewire serve --record`.")],
    frame: Annotated[int, typer.Option(min=0, metavar="N", help="Number of the frame to explain.")],
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name or folder of the bundle of networks to run (default: the recording's)."
        ),
    ] = None,
    detector: DetectorFlag = None,
    flow: FlowFlag = None,
    device: Annotated[str, typer.Option(help="Device of the networks: auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Show every candidate match in a recorded frame: its similarity, and why it was chosen or not."""
    with expected_failures():
        from posewire.cli.explain import ExplainJob, run_explain

        run_explain(ExplainJob(file, frame, bundle, detector, flow, device))


@app.command(context_settings=_DELEGATED, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Start a server (see posewire serve --help)."""
    _delegate("posewire_server.__main__", context)


@app.command(context_settings=_DELEGATED, add_help_option=False)
def bench(context: typer.Context) -> None:
    """Benchmark the service, a load of cameras, or the networks (see posewire bench --help)."""
    _delegate("posewire_benchmark.__main__", context)


@app.command(context_settings=_DELEGATED, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train a pose, detector or flow network (see posewire train --help)."""
    _delegate("posewire_models.training.__main__", context)


@app.command(context_settings=_DELEGATED, add_help_option=False)
def ablate(context: typer.Context) -> None:
    """Compare similarities and propagation on your data or on synthetic scenes (see posewire ablate --help)."""
    _delegate("posewire.cli.ablate", context)


@app.command(context_settings=_DELEGATED, add_help_option=False)
def tune(context: typer.Context) -> None:
    """Search for the best tracker settings (see posewire tune --help)."""
    _delegate("posewire.cli.tune", context)


app.add_typer(evaluate_app)


def _delegate(module: str, context: typer.Context) -> None:
    """Pass the rest of the command line to the `app` of a program that needs the server extra."""
    with expected_failures():
        from importlib import import_module

        try:
            program = import_module(module)
        except IMPORT_FAILURES as error:
            missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
            if missing.partition(".")[0] in ("posewire_server", "posewire_models"):
                raise CommandError(f"this installation has no `{context.command_path}` ({missing})") from error
            raise import_failure(f"`{context.command_path}`", error) from error
    program.app(args=context.args, prog_name=context.command_path)
