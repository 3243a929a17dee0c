"""The one place that maps exceptions to what clients see: status code, details, reason of a failed frame."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from posewire.v1 import track_pb2
from posewire_server import errors

__all__ = ["ERROR_DOMAIN", "abort", "error_reason", "failure_reason", "to_status"]

ERROR_DOMAIN = "posewire"

log = logging.getLogger(__name__)

# Status code and machine-readable reason (google.rpc.ErrorInfo) of each exception.
_STATUS: dict[type[errors.ServiceError], tuple[grpc.StatusCode, str]] = {
    errors.InvalidRequest: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    errors.OutOfOrder: (grpc.StatusCode.FAILED_PRECONDITION, "OUT_OF_ORDER"),
    errors.UnknownCall: (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_CALL"),
    errors.DetectorMissing: (grpc.StatusCode.FAILED_PRECONDITION, "DETECTOR_MISSING"),
    errors.NotAuthenticated: (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    errors.NotPermitted: (grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED"),
    errors.Stalled: (grpc.StatusCode.DEADLINE_EXCEEDED, "STALLED"),
    errors.LimitReached: (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED"),
    errors.ServerDraining: (grpc.StatusCode.UNAVAILABLE, "DRAINING"),
    errors.Undecodable: (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE"),
    errors.PictureTooLarge: (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE"),
    errors.WrongSize: (grpc.StatusCode.INVALID_ARGUMENT, "WRONG_SIZE"),
    errors.BadBoxes: (grpc.StatusCode.INVALID_ARGUMENT, "BAD_BOXES"),
    errors.BadNumber: (grpc.StatusCode.INVALID_ARGUMENT, "BAD_NUMBER"),
    errors.BadElapsed: (grpc.StatusCode.INVALID_ARGUMENT, "BAD_ELAPSED"),
    errors.InferenceFailed: (grpc.StatusCode.INTERNAL, "INFERENCE"),
}

_FAILURES: dict[type[errors.FrameError], track_pb2.FailureReason.ValueType] = {
    errors.Undecodable: track_pb2.FAILURE_REASON_UNDECODABLE,
    errors.PictureTooLarge: track_pb2.FAILURE_REASON_TOO_LARGE,
    errors.WrongSize: track_pb2.FAILURE_REASON_WRONG_SIZE,
    errors.BadBoxes: track_pb2.FAILURE_REASON_BAD_BOXES,
    errors.BadNumber: track_pb2.FAILURE_REASON_BAD_NUMBER,
    errors.BadElapsed: track_pb2.FAILURE_REASON_BAD_ELAPSED,
    errors.InferenceFailed: track_pb2.FAILURE_REASON_INFERENCE,
}


def failure_reason(error: errors.FrameError) -> track_pb2.FailureReason.ValueType:
    """The reason that a failed frame of a stream reports."""
    return _FAILURES[type(error)]


def error_reason(error: errors.ServiceError) -> str:
    """The machine-readable reason of an error, as in google.rpc.ErrorInfo."""
    return _STATUS[type(error)][1]


def to_status(error: errors.ServiceError) -> Any:
    """The `grpc.Status` of an error, with google.rpc details: ErrorInfo, and BadRequest if a field is at fault."""
    code, reason = _STATUS[type(error)]
    details = [error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    packed = []
    for detail in details:
        box = any_pb2.Any()
        box.Pack(detail)
        packed.append(box)
    return rpc_status.to_status(
        status_pb2.Status(code=getattr(code_pb2, code.name), message=error.message, details=packed)
    )


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """End a call with the status of `error`. Errors other than `ServiceError` are logged in full, and sent in brief."""
    if not isinstance(error, errors.ServiceError):
        log.error("call failed", exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has the cause")
    status = to_status(error)
    await context.abort(status.code, status.details, status.trailing_metadata)
