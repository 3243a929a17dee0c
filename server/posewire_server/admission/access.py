"""Authentication of every call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc

from posewire_server.admission.call_rates import CallKind, CallRates
from posewire_server.admission.refusals import Refusals
from posewire_server.admission.tokens import ANYBODY, Caller, TokenFile
from posewire_server.errors import NotAuthenticated, ServiceError
from posewire_server.wire.peers import caller_key, host_of
from posewire_server.wire.status import abort

__all__ = ["FOR_EVERYBODY", "AccessControl", "current_caller", "who_calls"]

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

current_caller: ContextVar[Caller] = ContextVar("current_caller", default=ANYBODY)
"""Who made the call that the current task handles."""

# Load balancers and probes have no token; all they learn is whether the server works.
FOR_EVERYBODY = "/grpc.health.v1.Health/"
"""The calls that need no token."""

_METADATA_KEY = "authorization"


def who_calls(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """By what limits tell the caller of the current call from others, see `caller_key`."""
    return caller_key(current_caller.get().name, context.peer())


class AccessControl(grpc.aio.ServerInterceptor):
    """Refuses calls without a known token, except those to the health service.

    Args:
        tokens: the accepted tokens.
        rates: limit how often a host may call without one.
        refusals: are told of each.
    """

    def __init__(self, tokens: TokenFile, rates: CallRates, refusals: Refusals) -> None:
        self._tokens = tokens
        self._rates = rates
        self._refusals = refusals

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """See `grpc.aio.ServerInterceptor`."""
        method = str(handler_call_details.method)
        if method.startswith(FOR_EVERYBODY):
            return await continuation(handler_call_details)
        try:
            current_caller.set(self._tokens.caller_of(_authorization(handler_call_details)))
        except NotAuthenticated as error:
            return self._refusal(method, error)
        return await continuation(handler_call_details)

    def _refusal(self, method: str, error: NotAuthenticated) -> _Handler:
        """A handler that answers with the error and reads no request."""

        async def refuse(_requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            host = host_of(context.peer())
            self._refusals.refused(method, context.peer(), host, error)
            with suppress(ServiceError):  # the caller is told what is wrong in any case
                await self._rates.turn(CallKind.UNAUTHENTICATED, host)
            await abort(context, error)

        # It neither reads nor writes a message, so it works for all kinds of calls.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _authorization(details: grpc.HandlerCallDetails) -> str:
    given = [value for key, value in details.invocation_metadata if key == _METADATA_KEY]
    if len(given) > 1:
        raise NotAuthenticated("the metadata `authorization` is given more than once; send one token")
    return given[0] if given and isinstance(given[0], str) else ""
