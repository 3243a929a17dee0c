from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest

from posewire.v1 import track_pb2
from posewire_server import errors
from posewire_server.wire.status import error_reason, failure_reason, to_status


def _all(base: type[errors.ServiceError]) -> list[type[errors.ServiceError]]:
    return [kind for child in base.__subclasses__() for kind in (child, *_all(child))]


@pytest.mark.parametrize("kind", [kind for kind in _all(errors.ServiceError) if kind is not errors.FrameError])
def test_every_error_has_a_status(kind: type[errors.ServiceError]) -> None:
    status = to_status(kind("what was wrong", field="config"))
    assert status.details == "what was wrong"
    assert status.code not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)
    assert dict(status.trailing_metadata)["grpc-status-details-bin"]


def test_every_frame_error_has_a_reason_of_its_own() -> None:
    reasons = [failure_reason(kind("")) for kind in errors.FrameError.__subclasses__()]  # type: ignore[call-arg]
    assert sorted(reasons) == sorted(set(track_pb2.FailureReason.values()) - {0})


def test_the_contract_lists_the_reasons_of_every_status() -> None:
    contract = (Path(__file__).parents[3] / "protos/posewire/v1/pose_tracking_service.proto").read_text()
    of_frames_in_streams_only = (errors.FrameError, errors.BadNumber, errors.BadElapsed)
    for kind in set(_all(errors.ServiceError)) - {*of_frames_in_streams_only}:
        assert re.search(
            rf"^// +{to_status(kind('')).code.name} .*\b{error_reason(kind(''))}\b", contract, re.MULTILINE
        ), kind


def test_all_errors_are_exported() -> None:
    assert {name for name, each in vars(errors).items() if isinstance(each, type)} == set(errors.__all__)
