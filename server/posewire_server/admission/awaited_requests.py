"""How requests are awaited: not for ever, and only so many at the same time.

A request takes memory from its first byte on, as much as the largest picture. gRPC by itself would wait for the rest of
it, in any number of calls, before anybody could refuse them. Here a call is read once there is a place for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc

from posewire_server.admission.access import current_caller
from posewire_server.admission.places import Places
from posewire_server.errors import LimitReached, OutOfOrder, ServiceError
from posewire_server.tracebacks import forget_locals
from posewire_server.wire.malformed_requests import request_reader
from posewire_server.wire.status import abort, error_reason

__all__ = ["AwaitedRequests"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# Takes a request, or the iterator of them, and the context; a coroutine, or of reflection an asynchronous generator.
_Answer: TypeAlias = Callable[..., Any]

_OURS = "/posewire."
_PICTURE = "/EstimatePoses"
# A picture may be large, and its line slow.
_PICTURE_TIMEOUT_S = 30.0
# All other single requests are a few bytes, which come with the call.
_QUESTION_TIMEOUT_S = 5.0
_MOST_QUESTIONS = 8
# Of reflection, which is a stream.
_CONVERSATION_TIMEOUT_S = 30.0


class AwaitedRequests(grpc.aio.ServerInterceptor):
    """Reads the request of each call that has one only, and hands it to the handler, which must be a coroutine.

    A `ServiceError` that is raised here or there becomes the status of the call. Streams of frames read for themselves.

    Args:
        places: where a picture needs one.
        on_refusal: called with the reason of each refusal of which no handler hears.
    """

    def __init__(self, places: Places, on_refusal: Callable[[str], None]) -> None:
        self._places = places
        self._on_refusal = on_refusal
        self._questions = _Questions()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        method = str(handler_call_details.method)
        read, write = request_reader(method, handler.request_deserializer), handler.response_serializer
        # On the wire, a stream of one request is a single request; but of a stream, the handler decides when it reads.
        if handler.unary_unary is not None:
            await_one = self._picture if method.endswith(_PICTURE) else self._question
            return grpc.stream_unary_rpc_method_handler(self._refusing(await_one(handler.unary_unary)), read, write)
        answer: _Answer | None = handler.stream_stream
        if handler.unary_stream is not None:
            answer = self._refusing(self._question(handler.unary_stream))
        elif answer is not None and not method.startswith(_OURS):
            answer = self._refusing(self._conversation(answer))
        assert answer is not None  # no call here has a stream of requests and a single answer
        return grpc.stream_stream_rpc_method_handler(answer, read, write)

    def _picture(self, handle: _Answer) -> _Answer:
        async def answer(_: object, context: _Context) -> Any:
            with self._places.for_picture(current_caller.get()):
                try:
                    async with asyncio.timeout(_PICTURE_TIMEOUT_S):
                        request = await self._places.unless_draining(_one(context))
                except TimeoutError:
                    raise OutOfOrder(f"no picture came within {_PICTURE_TIMEOUT_S:g} s; compress it more") from None
                return await handle(request, context)

        return answer

    def _question(self, handle: _Answer) -> _Answer:
        async def answer(_: object, context: _Context) -> Any:
            async with self._questions.within(_QUESTION_TIMEOUT_S):
                request = await _one(context)
            return await handle(request, context)

        return answer

    def _conversation(self, handle: _Answer) -> _Answer:
        async def answer(requests: object, context: _Context) -> None:
            async with self._questions.within(_CONVERSATION_TIMEOUT_S):
                async for response in handle(requests, context):
                    await context.write(response)

        return answer

    def _refusing(self, answer: _Answer) -> _Answer:
        async def answer_or_refuse(requests: object, context: _Context) -> Any:
            try:
                return await answer(requests, context)
            except ServiceError as error:
                forget_locals(error)  # the bytes of the request are among them
                self._on_refusal(error_reason(error))
                await abort(context, error)

        return answer_or_refuse


class _Questions:
    """Calls whose requests are awaited. When there are too many, the one that has waited the longest is given up.

    So nobody keeps others from asking by not asking themselves: whoever sends the request with the call does not wait.
    """

    def __init__(self) -> None:
        self._timeouts: list[asyncio.Timeout] = []  # the oldest first

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """While a request is awaited.

        Raises:
            OutOfOrder: it did not come in time.
            LimitReached: others came, and took the place.
        """
        if len(self._timeouts) >= _MOST_QUESTIONS:
            oldest = self._timeouts.pop(0)
            if not oldest.expired():
                oldest.reschedule(0.0)  # which is long ago
        timeout = asyncio.timeout(seconds)
        try:
            async with timeout:
                self._timeouts.append(timeout)
                yield
        except TimeoutError:
            if timeout in self._timeouts:
                raise OutOfOrder(f"the request did not come within {seconds:g} s; send it with the call") from None
            raise LimitReached(
                f"{_MOST_QUESTIONS} newer calls await their requests, as many as this server lets wait; send the "
                "request with the call"
            ) from None
        finally:
            if timeout in self._timeouts:
                self._timeouts.remove(timeout)


async def _one(context: _Context) -> Any:
    request = await context.read()
    if request is grpc.aio.EOF:
        raise OutOfOrder("the call ended before its request; send one")
    return request
