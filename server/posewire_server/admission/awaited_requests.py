"""Limits on how long, and for how many requests at a time, the server waits.

An incoming request may take as much memory as the largest picture. gRPC itself would wait for the rest of it without
limit, in any number of calls, before a handler could refuse them. Here a call is read only once it has a place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeAlias

import grpc

from posewire_server.admission.access import FOR_EVERYBODY, current_caller, who_calls
from posewire_server.admission.call_rates import CallKind, CallRates
from posewire_server.admission.places import Places
from posewire_server.admission.refusals import Refusals
from posewire_server.errors import LimitReached, OutOfOrder, ServiceError, UnknownCall
from posewire_server.tracebacks import forget_locals
from posewire_server.wire.malformed_requests import request_reader
from posewire_server.wire.status import abort

__all__ = ["AwaitedRequests"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# Takes a request, or the iterator of requests, and the context; a coroutine, or for reflection an async generator.
_Answer: TypeAlias = Callable[..., Any]
_Turn: TypeAlias = Callable[[_Context], Awaitable[object]]

_OURS = "/posewire."
_PICTURE = "/EstimatePoses"
# A picture may be large, and its connection slow.
_PICTURE_TIMEOUT_S = 30.0
# All other single requests are a few bytes, which arrive with the call.
_QUESTION_TIMEOUT_S = 5.0
_MOST_QUESTIONS = 8
# For reflection, which is a stream.
_CONVERSATION_TIMEOUT_S = 30.0


class AwaitedRequests(grpc.aio.ServerInterceptor):
    """Reads the request of each call with a single request, and passes it to the handler, which must be a coroutine.

    A `ServiceError` raised here or there becomes the status of the call. Streams of frames read their own requests.

    Args:
        places: limit the number of pictures.
        rates: limit how often a caller may ask, or send pictures that are refused.
        refusals: are told of each that is made here.
    """

    def __init__(self, places: Places, rates: CallRates, refusals: Refusals) -> None:
        self._places = places
        self._rates = rates
        self._refusals = refusals
        self._questions = _Questions()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(self._refusing(self._unknown, method))
        if handler.request_deserializer is None:
            return handler
        read, write = request_reader(method, handler.request_deserializer), handler.response_serializer
        turn = self._turn_of_probe if method.startswith(FOR_EVERYBODY) else self._turn
        # On the wire, a stream of one request equals a single request; but a stream lets the handler decide when to
        # read.
        if handler.unary_unary is not None:
            if method.endswith(_PICTURE):
                awaiting = self._picture(handler.unary_unary)
            else:
                awaiting = self._question(handler.unary_unary, turn)
            return grpc.stream_unary_rpc_method_handler(self._refusing(awaiting, method), read, write)
        answer: _Answer | None = handler.stream_stream
        if handler.unary_stream is not None:
            answer = self._refusing(self._question(handler.unary_stream, turn), method)
        elif answer is not None and not method.startswith(_OURS):
            answer = self._refusing(self._conversation(answer), method)
        assert answer is not None  # no call here has a stream of requests and a single answer
        return grpc.stream_stream_rpc_method_handler(answer, read, write)

    def _picture(self, handle: _Answer) -> _Answer:
        async def answer(_: object, context: _Context) -> Any:
            who = who_calls(context)
            rate = await self._rates.turn(CallKind.PICTURE, who)
            with ExitStack() as place:
                try:
                    place.enter_context(self._places.for_picture(current_caller.get()))
                except LimitReached:
                    rate.give_back()
                    await self._rates.without_place(who)
                    raise
                try:
                    async with asyncio.timeout(_PICTURE_TIMEOUT_S):
                        request = await self._places.unless_draining(_one(context))
                except TimeoutError:
                    raise OutOfOrder(f"no picture came within {_PICTURE_TIMEOUT_S:g} s; compress it more") from None
                response = await handle(request, context)
            rate.give_back()
            return response

        return answer

    def _question(self, handle: _Answer, turn: _Turn) -> _Answer:
        async def answer(_: object, context: _Context) -> Any:
            await turn(context)
            async with self._questions.within(_QUESTION_TIMEOUT_S):
                request = await _one(context)
            return await handle(request, context)

        return answer

    def _conversation(self, handle: _Answer) -> _Answer:
        async def answer(requests: AsyncIterator[Any], context: _Context) -> None:
            await self._turn(context)
            async with self._questions.within(_CONVERSATION_TIMEOUT_S):
                async for response in handle(self._paced(requests, context), context):
                    await context.write(response)

        return answer

    async def _unknown(self, _: object, context: _Context) -> None:
        await self._turn(context)
        raise UnknownCall("this server has no call of this name; it may be older than its client")

    async def _turn(self, context: _Context) -> None:
        await self._rates.turn(CallKind.QUESTION, who_calls(context))

    async def _turn_of_probe(self, context: _Context) -> None:
        await self._rates.probe(context.peer())

    async def _paced(self, requests: AsyncIterator[Any], context: _Context) -> AsyncIterator[Any]:
        """All requests of a conversation, each of which is a question. The first one counts with the call."""
        async for request in requests:
            yield request
            await self._turn(context)

    def _refusing(self, answer: _Answer, method: str) -> _Answer:
        async def answer_or_refuse(requests: object, context: _Context) -> Any:
            try:
                return await answer(requests, context)
            except ServiceError as error:
                forget_locals(error)  # they include the bytes of the request
                self._refusals.refused(method, context.peer(), who_calls(context), error)
                await abort(context, error)

        return answer_or_refuse


class _Questions:
    """Calls whose requests are awaited. If there are too many, the oldest one is refused.

    So a client that opens calls without sending requests cannot block others: a request that is sent with its call does
    not wait.
    """

    def __init__(self) -> None:
        self._timeouts: list[asyncio.Timeout] = []  # oldest first

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Hold a place while a request is awaited.

        Raises:
            OutOfOrder: the request did not arrive in time.
            LimitReached: newer calls took the place.
        """
        if len(self._timeouts) >= _MOST_QUESTIONS:
            oldest = self._timeouts.pop(0)
            if not oldest.expired():
                oldest.reschedule(0.0)  # a time in the past: it expires at once
        timeout = asyncio.timeout(seconds)
        try:
            async with timeout:
                self._timeouts.append(timeout)
                yield
        except TimeoutError:
            if timeout in self._timeouts:
                raise OutOfOrder(f"the request did not come within {seconds:g} s; send it with the call") from None
            raise LimitReached(
                f"{_MOST_QUESTIONS} newer calls are waiting for their requests, the most that this server allows; send "
                "the request with the call"
            ) from None
        finally:
            if timeout in self._timeouts:
                self._timeouts.remove(timeout)


async def _one(context: _Context) -> Any:
    request = await context.read()
    if request is grpc.aio.EOF:
        raise OutOfOrder("the call ended before its request; send one")
    return request
