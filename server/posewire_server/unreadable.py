"""Requests whose bytes are no message: the sender's fault, which gRPC by itself would call the server's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from posewire_server.errors import InvalidRequest
from posewire_server.status import abort, error_reason

__all__ = ["UnreadableRequests"]

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_OURS = "/posewire."


@dataclass(frozen=True)
class _Unreadable:
    """Stands in for a request that is none."""

    error: InvalidRequest


class UnreadableRequests(grpc.aio.ServerInterceptor):
    """Answers INVALID_ARGUMENT to them, where UNKNOWN or INTERNAL would come.

    Args:
        on_refusal: called with the reason of each refusal of which no handler hears.
    """

    def __init__(self, on_refusal: Callable[[str], None]) -> None:
        self._on_refusal = on_refusal

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        if handler is None or not str(handler_call_details.method).startswith(_OURS):
            return handler
        deserialize, serialize = handler.request_deserializer, handler.response_serializer
        if handler.stream_stream is not None:
            # Raised where the handler reads, which answers for all that it raises.
            return grpc.stream_stream_rpc_method_handler(handler.stream_stream, _raising(deserialize), serialize)
        if handler.unary_unary is not None:
            # Here gRPC reads, before there is a handler that could answer.
            answer = _answering(handler.unary_unary, self._on_refusal)
            return grpc.unary_unary_rpc_method_handler(answer, _standing_in(deserialize), serialize)
        return handler


def _raising(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    def read(data: bytes) -> Any:
        assert deserialize is not None
        try:
            return deserialize(data)
        except DecodeError as error:
            raise InvalidRequest(f"a request of {len(data)} bytes is no message of this call") from error

    return None if deserialize is None else read


def _standing_in(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    read = _raising(deserialize)

    def read_or_stand_in(data: bytes) -> Any:
        assert read is not None
        try:
            return read(data)
        except InvalidRequest as error:
            return _Unreadable(error)

    return None if read is None else read_or_stand_in


def _answering(handle: Callable[..., Any], on_refusal: Callable[[str], None]) -> Callable[..., Awaitable[Any]]:
    async def answer(request: Any, context: Any) -> Any:
        if isinstance(request, _Unreadable):
            on_refusal(error_reason(request.error))
            await abort(context, request.error)
        return await handle(request, context)

    return answer
