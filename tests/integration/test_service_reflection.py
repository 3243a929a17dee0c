"""Server reflection, as grpcurl uses it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from posewire_server.server import running_server
from tests.integration.service_calls import server_config
from tests.server.stand_ins import networks

_SERVICE = "posewire.v1.PoseTrackingService"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_the_services_and_their_files(version: str) -> None:
    async with (
        running_server(server_config(), networks()) as address,
        grpc.aio.insecure_channel(address) as channel,
        asyncio.timeout(60),
    ):
        reflect = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            ServerReflectionRequest.SerializeToString,
            ServerReflectionResponse.FromString,
        )()
        await reflect.write(ServerReflectionRequest(list_services=""))
        services = {service.name for service in (await reflect.read()).list_services_response.service}
        assert {_SERVICE, "grpc.health.v1.Health"} <= services
        # Each of them can be described: grpcurl fails if one cannot.
        for service in services:
            await reflect.write(ServerReflectionRequest(file_containing_symbol=service))
            (file, *_) = (await reflect.read()).file_descriptor_response.file_descriptor_proto
            description = FileDescriptorProto.FromString(file)
            assert service in {f"{description.package}.{each.name}" for each in description.service}
        await reflect.done_writing()
