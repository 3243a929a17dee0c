"""`posewire eval`: the official metrics of COCO, PoseTrack and MOTChallenge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from posewire.cli.failures import CommandError, UsageError, expected_failures, say
from posewire.cli.options import QuietFlag

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["evaluate_app"]

evaluate_app = typer.Typer(
    name="eval",
    help="Score results against a ground truth, with the numbers of the official tools.",
    no_args_is_help=True,
)

# The files that each command reads in a folder.
_READ = {"coco": (), "posetrack": ("*.json",), "mot": ("*.txt", "*/gt/gt.txt")}

_JsonFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--json", metavar="OUT", help="File for all numbers, unrounded.")
]


@evaluate_app.command()
def coco(
    gt: Annotated[Path, typer.Option("--gt", metavar="GT.json", help="COCO annotations (ground truth).")],
    dt: Annotated[Path, typer.Option("--dt", metavar="DT.json", help="COCO results, e.g. of `posewire poses`.")],
    json_out: _JsonFlag = None,
) -> None:
    """COCO: average precision and recall of keypoints and boxes, by pycocotools."""
    with _evaluating("coco", json_out, gt, dt):
        from posewire_evaluation.coco import score_coco
        from posewire_evaluation.tables import coco_document, coco_tables

        scores = score_coco(gt, dt)
        _show(coco_tables(scores), coco_document(scores), json_out, scores.notes)


@evaluate_app.command()
def posetrack(
    gt: Annotated[
        Path,
        typer.Option(
            "--gt", metavar="DIR", help="Folder of PoseTrack 2017 or 2018 annotations, one JSON file per sequence."
        ),
    ],
    dt: Annotated[Path, typer.Option("--dt", metavar="DIR", help="Folder of predictions, files of the same names.")],
    json_out: _JsonFlag = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of processes (default: one per processor).", show_default=False),
    ] = None,
    quiet: QuietFlag = False,
) -> None:
    """PoseTrack: AP, MOTA, MOTP, precision and recall of each joint as in poseval; HOTA and IDF1."""
    with _evaluating("posetrack", json_out, gt, dt):
        from posewire.cli.progress import bar
        from posewire_evaluation.posetrack_files import file_pairs
        from posewire_evaluation.posetrack_folders import score_posetrack_files
        from posewire_evaluation.tables import posetrack_document, posetrack_tables

        with bar("scoring sequences", len(file_pairs(gt, dt)), quiet=quiet) as shown:
            report = score_posetrack_files(gt, dt, workers=workers, progress=lambda done, _: shown.show(done))
        _show(posetrack_tables(report), posetrack_document(report), json_out, report.notes)


@evaluate_app.command()
def mot(
    gt: Annotated[
        Path,
        typer.Option(
            "--gt", metavar="DIR", help="Folder of ground truth: NAME.txt or NAME/gt/gt.txt for each sequence."
        ),
    ],
    dt: Annotated[Path, typer.Option("--dt", metavar="DIR", help="Folder of predictions: NAME.txt for each sequence.")],
    json_out: _JsonFlag = None,
) -> None:
    """MOTChallenge text files: MOTA, MOTP, IDF1 and the counts by motmetrics, HOTA by TrackEval."""
    with _evaluating("mot", json_out, gt, dt):
        from posewire_evaluation.mot import score_mot
        from posewire_evaluation.tables import mot_document, mot_tables

        scores = score_mot(gt, dt)
        _show(mot_tables(scores), mot_document(scores), json_out, scores.notes)


@contextmanager
def _evaluating(command: str, json_out: Path | None, gt: Path, dt: Path) -> Iterator[None]:
    """Handle expected failures; if a package is missing, say what to install."""
    with expected_failures():
        from posewire.cli.outputs import check_outputs
        from posewire_evaluation.sequence_files import in_any_case, would_be_found

        files = [file for path in (gt, dt) for pattern in _READ[command] for file in path.glob(in_any_case(pattern))]
        check_outputs({"--json": json_out}, [gt, dt, *files])
        if json_out is not None and any(would_be_found(json_out, gt, pattern) for pattern in _READ[command]):
            raise UsageError(f"--json {json_out} would be read as truth the next time; give a path outside of {gt}")
        try:
            yield
        except ModuleNotFoundError as error:
            raise CommandError(
                f"`posewire eval {command}` needs the package {error.name}; install it: pip install 'posewire[eval]'"
            ) from error


def _show(tables: Iterator[Table], document: dict[str, Any], json_out: Path | None, notes: Iterable[str]) -> None:
    from posewire.cli.console import WIDEST, plain_console
    from posewire.output_files import write_json

    if json_out is not None:  # first, since the reader of standard output may close it
        write_json(json_out, document)
    console = plain_console(least_width=WIDEST)
    for place, table in enumerate(tables):
        if place:
            console.print()
        console.print(table)
    if json_out is not None:
        say(f"wrote {json_out}")
    for note in notes:
        say(f"posewire: note: {note}")
