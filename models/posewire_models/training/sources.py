"""The data sets named in a run's config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from posewire.joints import JointSet
from posewire_models.training.config import ConfigError
from posewire_models.training.people import Picture
from posewire_models.training.readers import read_coco, read_lsp_extended, read_posetrack, read_teacher
from posewire_models.training.readers.teacher import with_teacher_faces

__all__ = ["SourceConfig", "held_out_pictures", "read_source"]

FORMATS = ("coco", "posetrack", "lsp-extended", "teacher", "scenes")
_SPLIT = ("coco", "lsp-extended")
"""Formats of which a part may be held out."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One data set.

    Attributes:
        format: `coco`, `posetrack`, `lsp-extended`, `teacher` (lines of `posewire_models.training.teachers`) or
            `scenes` (a folder of pictures without people).
        images: folder of the pictures, relative to the config's `data_root`.
        labels: label file, also relative to `data_root`; `scenes` has none.
        teacher: file with a teacher's labels of the same pictures, which add the joints that the labels lack.
        held_out_every: for `coco` and `teacher`, picture numbers divisible by this are held out; 0 for none.
        held_out_from: for `lsp-extended` and `teacher`, picture numbers from this on are held out; 0 for none.
        repeat: how often it appears in an epoch.
    """

    format: str
    images: Path
    labels: Path | None = None
    teacher: Path | None = None
    held_out_every: int = 0
    held_out_from: int = 0
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"unknown format {self.format!r}; known: {', '.join(FORMATS)}")
        if (self.labels is None) != (self.format == "scenes"):
            raise ValueError(f"format {self.format!r}: labels must be given (and must not for 'scenes')")
        if self.repeat < 1 or min(self.held_out_every, self.held_out_from) < 0:
            raise ValueError(f"repeat {self.repeat} must be at least 1; held_out_* at least 0")


def read_source(source: SourceConfig, root: Path, to: JointSet, *, held_out: bool, faces: bool = True) -> list[Picture]:
    """Pictures of one part of the split; the held-out part of a source without a split is empty.

    Args:
        source: the data set.
        root: what its paths are relative to.
        to: joint set of the result.
        held_out: which part.
        faces: whether its teacher adds joints to the training part.

    Raises:
        ConfigError: the folder of the pictures is missing.
        LabelFileError: a label file is missing or faulty.
    """
    if held_out and source.format not in _SPLIT:
        return []  # without a look at its files: who only measures need not have them
    images, labels = root / source.images, root / (source.labels or "")
    every, first = source.held_out_every, source.held_out_from
    match source.format:
        case "coco":
            pictures = read_coco(labels, images, to, held_out_every=every, held_out=held_out)
        case "lsp-extended":
            pictures = read_lsp_extended(labels, images, to, held_out_from=first, held_out=held_out)
        case "posetrack":
            pictures = read_posetrack(labels, images, to)
        case "teacher":
            pictures = read_teacher(labels, images, to, held_out_every=every, held_out_from=first)
        case _:  # "scenes", the last of FORMATS
            pictures = _scenes(images)
    if not images.is_dir():  # otherwise the log would report each of its pictures as missing
        raise ConfigError(f"{source.format}: there is no folder of pictures {images}; check the path in the config")
    if source.teacher and faces and not held_out:
        pictures = with_teacher_faces(pictures, root / source.teacher, to)
    return pictures


def held_out_pictures(
    sources: Sequence[SourceConfig], whole: Sequence[SourceConfig], root: Path, to: JointSet
) -> dict[str, list[Picture]]:
    """Pictures to measure on, by format; the second data set of a format is `coco_2`. Empty data sets are left out.

    Args:
        sources: data sets to train on, of which the held-out parts are used.
        whole: data sets that are held out completely; their splits and teachers are ignored.
        root: what the sources' paths are relative to.
        to: joint set of the result.

    Raises:
        ConfigError: the folder of the pictures is missing.
        LabelFileError: a label file is missing or faulty.
    """
    entire = [replace(source, held_out_every=0, held_out_from=0, teacher=None) for source in whole]
    sets = [(source.format, read_source(source, root, to, held_out=True)) for source in sources]
    sets += [(source.format, read_source(source, root, to, held_out=False)) for source in entire]
    named: dict[str, list[Picture]] = {}
    for name, pictures in sets:
        number = 1 + sum(other.partition("_")[0] == name for other in named)
        if pictures:
            named[name if number == 1 else f"{name}_{number}"] = pictures
    return named


def _scenes(folder: Path) -> list[Picture]:
    files = sorted(entry for entry in folder.glob("*") if entry.suffix.lower() in (".webp", ".jpg", ".jpeg", ".png"))
    return [Picture(file, key, people=(), complete=True) for key, file in enumerate(files)]
