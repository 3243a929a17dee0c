"""Server reflection, from which tools such as grpcurl learn the services and their messages."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

__all__ = ["add_reflection"]

# grpcio-reflection knows the service by its earlier name only. By its present one, which tools try first, it has the
# same messages on the wire.
_NAMES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Let `server` describe `services`, and this one, by both of its names."""
    answer = reflection.aio.ReflectionServicer([*services, reflection.SERVICE_NAME]).ServerReflectionInfo
    handler = grpc.stream_stream_rpc_method_handler(
        answer, ServerReflectionRequest.FromString, ServerReflectionResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in _NAMES]
    )
