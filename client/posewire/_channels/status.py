"""The one place where gRPC statuses are converted to exceptions of the SDK."""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from posewire._channels.addresses import proxy_setting
from posewire.errors import (
    AccessDenied,
    CallError,
    ConnectionFailed,
    InvalidRequest,
    LimitExceeded,
    ServerFailed,
    ServerRefused,
    TimedOut,
    Violation,
)

__all__ = ["error_from_status"]

_DETAILS_KEY = "grpc-status-details-bin"
# What gRPC says if nothing listens at the address.
_NOBODY_LISTENS = "Connection refused"
# What gRPC says if the client rejects the server's certificate, and what to do; the first one that fits.
_UNTRUSTED = {
    "certificate has expired": "renew the server's certificate, or set the clock of this machine if it is wrong",
    "certificate is not yet valid": "set the clock of this machine, or that of the authority if it is the wrong one",
    "CERTIFICATE_VERIFY_FAILED": "give the authority that signed the server's certificate (TlsSettings(ca=); --ca)",
    "Hostname Verification": "connect to a name or an address in the subjectAltName of the server's certificate",
}
# In the status of a call whose server went away behind a proxy.
_CUT_OFF = "RST_STREAM"

_CLASSES: dict[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.UNAVAILABLE: ConnectionFailed,
    # Cancelling by the client raises `CancelledError` instead: this status is from a server that closed just then.
    grpc.StatusCode.CANCELLED: ConnectionFailed,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.FAILED_PRECONDITION: ServerRefused,
    grpc.StatusCode.NOT_FOUND: ServerRefused,
    grpc.StatusCode.ALREADY_EXISTS: ServerRefused,
    grpc.StatusCode.ABORTED: ServerRefused,
    grpc.StatusCode.UNIMPLEMENTED: ServerRefused,
}

_REMEDIES: dict[type[CallError], str] = {
    ConnectionFailed: "start one with `posewire serve`, or check the address, the port and whether the server uses TLS",
    TimedOut: "the server is overloaded or stuck; look at its log, or raise timeout_s",
    ServerFailed: "look at the server's log",
    AccessDenied: "check the credentials given to the client",
    LimitExceeded: "if a message was too large, send smaller pictures or compress them more",
}


def error_from_status(
    error: grpc.aio.AioRpcError, address: str, doing: str, *, is_anonymous: bool = False
) -> CallError:
    """The exception of the SDK for a failed call.

    Args:
        error: what gRPC raised.
        address: of the server, for the message.
        doing: what was being done, e.g. `opening a stream`.
        is_anonymous: whether TLS is used without a client certificate.
    """
    code = error.code()
    kind = _CLASSES.get(code, ServerFailed)
    reason, violations = _details(error)
    if code is grpc.StatusCode.INTERNAL and not reason and _CUT_OFF in (error.details() or ""):
        kind = ConnectionFailed
    # The server's message says what to do; the SDK's remedies are for failures without one.
    words = error.details() or code.name
    words += "".join(f"; {each.field}: {each.description}" for each in violations if each.description not in words)
    untrusted = next((remedy for said, remedy in _UNTRUSTED.items() if said in words), "")
    if kind is ConnectionFailed and not reason:
        if not untrusted and (setting := proxy_setting(address)):
            words += f"; {setting} names a proxy, which is used unless no_proxy lists the server's host"
        message = f"{doing}: no posewire server can be reached at {address} ({words})"
    else:
        message = f"{doing} at {address}: {words} [{code.name}]"
    if kind in _REMEDIES and not reason:
        message = f"{message}; {untrusted or _REMEDIES[kind]}"
        if is_anonymous and kind is ConnectionFailed and not untrusted and _NOBODY_LISTENS not in words:
            message += ", or wants this client's certificate (TlsSettings(cert=, key=); --cert, --key)"
    if code is grpc.StatusCode.UNIMPLEMENTED and not reason:
        message += "; check the address: what listens there is not posewire, or an older version without this call"
    if code is grpc.StatusCode.UNAUTHENTICATED:
        message += "; the token is what token= says (--token-file, POSEWIRE_TOKEN)"
    return kind(message, code=code.name, reason=reason, violations=violations)


def _details(error: grpc.aio.AioRpcError) -> tuple[str, tuple[Violation, ...]]:
    """The server's ErrorInfo reason and BadRequest violations, if it sent any that can be parsed."""
    reason = ""
    violations: list[Violation] = []
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY:
            continue
        status = status_pb2.Status()
        try:
            status.ParseFromString(value)
        except DecodeError:  # not from our server; the code and the text are still valid
            continue
        for detail in status.details:
            info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad_request):
                violations += [Violation(each.field, each.description) for each in bad_request.field_violations]
    return reason, tuple(violations)
