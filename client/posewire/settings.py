"""What a client may choose. Everything is optional: the server's default replaces fields that are None."""

from __future__ import annotations

import numbers
import operator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from posewire.errors import InvalidSettings

__all__ = ["Codec", "DropPolicy", "Similarity", "StreamOptions", "StreamSettings", "TrackerSettings"]

Similarity: TypeAlias = Literal["bbox", "pose", "flow", "multi-flow"]
DropPolicy: TypeAlias = Literal["latest", "all"]
Codec: TypeAlias = Literal["jpeg", "png", "raw", "h264", "h265", "passthrough"]

PICTURE_CODECS: tuple[Literal["jpeg", "png", "raw"], ...] = ("jpeg", "png", "raw")
PACKET_CODECS: tuple[Codec, ...] = ("h264", "h265")
"""Of packets that depend on earlier ones, and are sent as a video has them: the client does not encode them."""

# The server's ranges, so that values it would refuse are refused before anything is sent.
_PROBABILITY = (0.0, 1.0)
_COUNT = (1, 1000)
_LARGEST = 2**32 - 1  # that a message holds

_TRACKER_RANGES: dict[str, tuple[float, float]] = {
    "queue_length": _COUNT,
    "box_score_threshold": _PROBABILITY,
    "joint_score_threshold": _PROBABILITY,
    "box_nms_iou": _PROBABILITY,
    "pose_nms_oks": _PROBABILITY,
    "match_threshold": _PROBABILITY,
    "propagation_threshold": _PROBABILITY,
    "detect_every": _COUNT,
    "max_people": _COUNT,
}

_STREAM_RANGES: dict[str, tuple[float, float]] = {
    "jpeg_quality": (1, 100),
    "max_age_ms": (0, _LARGEST),
    "max_detect_every": (0, _LARGEST),
    "max_in_flight": (1, 1024),
}

MAX_NAME_LENGTH = 64


def check_choice(name: str, value: object, choices: tuple[str, ...], *, optional: bool = False) -> None:
    """Raise `InvalidSettings` unless the value is one of the choices, or None if it is optional."""
    if value not in choices and not (optional and value is None):
        raise InvalidSettings(f"{name} is {value!r}; it is one of {', '.join(map(repr, choices))}")


def _check_ranges(settings: object, ranges: dict[str, tuple[float, float]]) -> None:
    for name, (lowest, highest) in ranges.items():
        value = getattr(settings, name)
        if value is None:
            continue
        whole = isinstance(lowest, int)
        is_number = isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
        if not is_number or not lowest <= value <= highest:
            kind = "a whole number" if whole else "a number"
            raise InvalidSettings(f"{name} is {value!r}; it is {kind} in {lowest}..{highest}")
        object.__setattr__(settings, name, int(value) if whole else float(value))  # which numpy's are not


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or any("\ud800" <= each <= "\udfff" for each in value):
        raise InvalidSettings(f"{name} is {value!r}; give a text that UTF-8 can hold")


def _checked_size(size: object) -> tuple[int, int]:
    try:
        width, height = map(operator.index, size)  # type: ignore[call-overload]  # whatever it is
    except (TypeError, ValueError):
        width = height = 0
    if not (1 <= width <= _LARGEST and 1 <= height <= _LARGEST):
        raise InvalidSettings(f"raw_size is {size!r}; give (width, height), each a whole number in 1..{_LARGEST}")
    return width, height


@dataclass(frozen=True)
class TrackerSettings:
    """Settings of the tracker; see `StreamSettings` for the rest.

    Attributes:
        similarity: how the similarity of a new pose and a tracked one is measured: `bbox`, `pose`, `flow` or
            `multi-flow`.
        propagation: whether boxes around joints moved by the flow are added to the detector's.
        queue_length: how far back the tracker remembers (the paper's L_Q), 1..1000 frame intervals of the camera, that
            is, frames if none is missing.
        box_score_threshold: boxes with a lower score are dropped, 0..1. The server's detectors report none below 0.1 in
            any case.
        joint_score_threshold: joints with a lower score do not count, 0..1. A person found by the detector gets an id
            once three joints count.
        box_nms_iou: intersection over union above which the lower-ranked of two boxes is dropped, 0..1.
        pose_nms_oks: OKS above which the lower-ranked of two poses is dropped, 0..1; 1 switches it off.
        match_threshold: lowest similarity of a match, 0..1.
        propagation_threshold: lowest mean joint score of a pose whose joints are propagated, 0..1.
        detect_every: run the detector on every n-th frame, 1..1000; values above 1 need propagation.
        max_people: maximum number of people per frame, 1..1000; a server may allow fewer.

    Raises:
        InvalidSettings: a value is out of range; the message names the range.
    """

    similarity: Similarity | None = None
    propagation: bool | None = None
    queue_length: int | None = None
    box_score_threshold: float | None = None
    joint_score_threshold: float | None = None
    box_nms_iou: float | None = None
    pose_nms_oks: float | None = None
    match_threshold: float | None = None
    propagation_threshold: float | None = None
    detect_every: int | None = None
    max_people: int | None = None

    def __post_init__(self) -> None:
        check_choice("similarity", self.similarity, get_args(Similarity), optional=True)
        if self.propagation is not None and not isinstance(self.propagation, bool):
            raise InvalidSettings(f"propagation is {self.propagation!r}; give True, False, or None for the default")
        _check_ranges(self, _TRACKER_RANGES)
        if self.propagation is False and self.detect_every is not None and self.detect_every > 1:
            raise InvalidSettings(
                f"detect_every is {self.detect_every} while propagation is off, so nobody would be found between two "
                "runs of the detector; switch propagation on or set detect_every to 1"
            )


@dataclass(frozen=True)
class StreamSettings:
    """How a stream of frames is sent and tracked.

        settings = StreamSettings(codec="jpeg", tracker=TrackerSettings(similarity="multi-flow", queue_length=8))

    Attributes:
        codec: how frames are sent. `jpeg`, `png` and `raw` are encoded by the client; `h264` and `h265` send the
            source's own packets; `passthrough` does that if the source allows it, and sends JPEG otherwise.
        jpeg_quality: 1..100.
        tracker: settings of the tracker.
        drop_policy: `latest`: the newest frame wins and older ones are dropped; `all`: every frame is processed, and a
            slow server slows the source down. None: `latest` for live sources, `all` for the others.
        max_age_ms: a frame that has waited longer at the server is dropped; None or 0: no limit.
        joint_set: `coco17`, `posetrack15`, ...; None: all joints of the server's pose network.
        name: a label for the server's logs and `posewire top`, at most 64 characters.
        max_detect_every: how far the server may raise `detect_every` under load; None or 0: not at all.
        raw_size: width and height of raw frames; needed only for `raw` without a source.
        max_in_flight: frames that may be in flight at a time. None: 8, or 32 with `latest`. With `latest`, pictures are
            fewer if they would queue up on the line.

    Raises:
        InvalidSettings: a value is out of range; the message names the range.
    """

    codec: Codec = "jpeg"
    jpeg_quality: int = 90
    tracker: TrackerSettings = TrackerSettings()
    drop_policy: DropPolicy | None = None
    max_age_ms: int | None = None
    joint_set: str | None = None
    name: str = ""
    max_detect_every: int | None = None
    raw_size: tuple[int, int] | None = None
    max_in_flight: int | None = None

    def __post_init__(self) -> None:
        check_choice("codec", self.codec, get_args(Codec))
        check_choice("drop_policy", self.drop_policy, get_args(DropPolicy), optional=True)
        _check_ranges(self, _STREAM_RANGES)
        if not isinstance(self.tracker, TrackerSettings):
            raise InvalidSettings(f"tracker is a {type(self.tracker).__name__}; give a TrackerSettings")
        _check_text("name", self.name)
        if self.joint_set is not None:
            _check_text("joint_set", self.joint_set)
        if len(self.name) > MAX_NAME_LENGTH:
            raise InvalidSettings(f"name has {len(self.name)} characters; at most {MAX_NAME_LENGTH} are allowed")
        if self.raw_size is not None:
            object.__setattr__(self, "raw_size", _checked_size(self.raw_size))

    def with_options(self, options: StreamOptions) -> StreamSettings:
        """A copy with some values replaced; tracker settings are given by their own names.

            StreamSettings().with_options({"codec": "png", "similarity": "pose"})

        Raises:
            InvalidSettings: unknown name or value out of range.
        """
        of_tracker = {name: value for name, value in options.items() if name in _TRACKER_FIELDS}
        of_stream: dict[str, Any] = {name: value for name, value in options.items() if name not in _TRACKER_FIELDS}
        unknown = sorted(of_stream.keys() - _STREAM_FIELDS)
        if unknown:
            known = ", ".join(sorted(_TRACKER_FIELDS | _STREAM_FIELDS))
            raise InvalidSettings(f"unknown setting {', '.join(map(repr, unknown))}; known settings: {known}")
        if of_tracker:
            of_stream["tracker"] = replace(of_stream.get("tracker", self.tracker), **of_tracker)
        return replace(self, **of_stream)


class StreamOptions(TypedDict, total=False):
    """The fields of `StreamSettings` and `TrackerSettings`, as keyword arguments."""

    codec: Codec
    jpeg_quality: int
    tracker: TrackerSettings
    drop_policy: DropPolicy | None
    max_age_ms: int | None
    joint_set: str | None
    name: str
    max_detect_every: int | None
    raw_size: tuple[int, int] | None
    max_in_flight: int | None
    similarity: Similarity | None
    propagation: bool | None
    queue_length: int | None
    box_score_threshold: float | None
    joint_score_threshold: float | None
    box_nms_iou: float | None
    pose_nms_oks: float | None
    match_threshold: float | None
    propagation_threshold: float | None
    detect_every: int | None
    max_people: int | None


_TRACKER_FIELDS = {field.name for field in fields(TrackerSettings)}
_STREAM_FIELDS = {field.name for field in fields(StreamSettings)}
