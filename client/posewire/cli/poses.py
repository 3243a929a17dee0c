"""`posewire poses`: the poses in single pictures, as COCO results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from posewire import AsyncClient, ServerInfo
from posewire._encoding import sniff
from posewire.cli.access import ServerAccess
from posewire.cli.crew import Crew
from posewire.cli.failures import ExitStatus, say
from posewire.cli.outputs import check_outputs
from posewire.cli.pictures import Picture, annotated_pictures, note_on_ids, numbered_pictures
from posewire.cli.private_server import ServerChoice, require_detector
from posewire.cli.progress import bar
from posewire.cli.quantities import quantity
from posewire.errors import InvalidSettings
from posewire.os_errors import reason_of
from posewire.results import BoxesLike, Image, Person
from posewire.sources import FolderSource
from posewire.sources._folder import decode_picture, is_turned
from posewire.writers import CocoResultsWriter

__all__ = ["PosesJob", "run_poses"]

_AT_A_TIME = 8


@dataclass(frozen=True)
class PosesJob:
    """The job of `poses`.

    Attributes:
        folder: of the pictures.
        out: file for the COCO results.
        server: to use.
        boxes: COCO ground truth whose boxes are used instead of the detector's.
        quiet: print only errors.
    """

    folder: Path
    out: Path
    server: ServerChoice
    boxes: Path | None = None
    quiet: bool = False


@dataclass
class _Question:
    """A picture, the boxes of its remaining requests, and the answers so far."""

    picture: Picture
    boxes: deque[BoxesLike | None]
    people: list[Person] = field(default_factory=list)


@dataclass
class _Answers:
    """The people found, by image id, and which pictures failed and why."""

    found: dict[int, list[Person]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    people: int = 0

    @property
    def done(self) -> int:
        return len(self.found) + len(self.failures)


def run_poses(job: PosesJob) -> None:
    """Estimate the poses in all pictures of a folder; exits with status 1 unless every picture has a result."""
    check_outputs({"--out": job.out}, [job.folder] if job.boxes is None else [job.folder, job.boxes])
    paths = FolderSource(job.folder).paths
    if job.boxes is None:
        pictures = numbered_pictures(paths)
        if (note := note_on_ids(paths)) is not None:
            say(f"posewire: note: {note}")
    else:
        pictures, missing = annotated_pictures(paths, job.boxes)
        if len(pictures) < len(paths) and not job.quiet:
            say(f"pictures that are not in {job.boxes}, and are left out: {len(paths) - len(pictures)}")
        if missing:
            say(
                f"posewire: note: images with people in {job.boxes} that are not in {job.folder}: {len(missing)}, e.g. "
                f"{missing[0]}; in an evaluation with that file, these people count as missed"
            )
    with job.server.running(quiet=job.quiet) as access:
        answers = asyncio.run(_estimate_all(job, pictures, access))
    if not job.quiet:
        people = quantity(answers.people, "person", "people")
        say(f"{quantity(len(answers.found), 'picture')}, {people}; wrote {job.out}")
    if answers.failures:
        say(f"posewire: {len(answers.failures)} of {quantity(len(pictures), 'picture')} without a result:")
        for failure in answers.failures[:5]:
            say(f"  {failure}")
        raise typer.Exit(ExitStatus.INCOMPLETE)


async def _estimate_all(job: PosesJob, pictures: Sequence[Picture], access: ServerAccess) -> _Answers:
    """Process several pictures at a time and write the results, in the order of the pictures."""
    answers = _Answers()
    async with access.async_client() as client:
        info = await client.server_info()
        if job.boxes is None:
            require_detector(info, job.server)
        with (
            bar("estimating", len(pictures), quiet=job.quiet) as shown,
            CocoResultsWriter(job.out, info.joint_set) as writer,
        ):

            async def answer(question: _Question) -> None:
                await _ask(client, question)
                answers.found[question.picture.image_id] = question.people
                answers.people += len(question.people)
                shown.show(answers.done, quantity(answers.people, "person", "people"))

            def fail(question: _Question, error: Exception) -> None:
                answers.failures.append(f"{question.picture.path.name}: {reason_of(error)}")
                shown.show(answers.done, quantity(answers.people, "person", "people"))

            questions = [_question(picture, info) for picture in pictures]
            await Crew(answer, fail, quiet=job.quiet, reconnects=access.reconnects).work(questions, _AT_A_TIME)
            for picture in pictures:
                if picture.image_id in answers.found:
                    writer.add(picture.image_id, answers.found[picture.image_id], category_id=picture.category_id)
    return answers


def _question(picture: Picture, info: ServerInfo) -> _Question:
    """The requests of a picture: more boxes than the server accepts at a time are split over several."""
    if picture.boxes is None:
        return _Question(picture, deque([None]))
    most = info.limits.max_people or len(picture.boxes) or 1
    firsts = range(0, max(len(picture.boxes), 1), most)
    return _Question(picture, deque(picture.boxes[first : first + most] for first in firsts))


async def _ask(client: AsyncClient, question: _Question) -> None:
    content = await asyncio.to_thread(_content, question.picture.path)
    while question.boxes:
        question.people += (await client.estimate_poses(content, question.boxes[0], codec="png")).people
        question.boxes.popleft()


def _content(path: Path) -> Image | bytes:
    """The unchanged bytes of a JPEG or PNG file, whatever its name; the upright pixels of any other picture.

    Servers ignore EXIF orientation, so pictures that must be rotated, such as a phone's, are decoded here.
    """
    data = path.read_bytes()
    if not data:
        raise OSError("the file is empty")
    try:
        sniff(data)
    except InvalidSettings:  # another format
        return decode_picture(data)
    return decode_picture(data) if is_turned(data) else data
