"""A gRPC interceptor that parses requests, so that invalid ones neither leak memory nor delay a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ..client.channel import PREDICT
from .field_limit import MAX_ALL_FIELDS, MAX_FIELDS, cut_fields

MAX_STREAMS = 16
"""Maximum calls with a stream of requests (of reflection) at once: each has a thread as long as its client wants."""

TOO_MANY_FIELDS = (
    f"the request has a message of more than {MAX_FIELDS:,} fields, or more than {MAX_ALL_FIELDS:,} in all; send "
    "numbers packed or as tensor_content"
)


class ParseInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Parses each request in its handler's thread; invalid requests get INTERNAL, as from a C++ server.

    Requests with too many fields get INVALID_ARGUMENT. Predict requests get the message for what else is wrong with
    them, if anything: that of the wrong type, for example, for 30 million strings where numbers are expected.

    gRPC itself would parse before that. It leaks 19 KB for every message that it cannot parse, and such a message in a
    stream can leave a call that never ends (grpcio 1.85).

    Args:
        max_streams: maximum calls with a stream of requests at once; more are rejected with RESOURCE_EXHAUSTED.
    """

    def __init__(self, max_streams: int = MAX_STREAMS) -> None:
        self._streams = threading.BoundedSemaphore(max_streams)

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """Return a handler that receives serialized requests."""
        handler = continuation(call)
        if handler is None:
            return None
        parse = handler.request_deserializer
        descriptor = getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None)
        answers_cut = call.method == PREDICT  # other methods could do what only a part of the request says

        def read(data: bytes, context: grpc.ServicerContext) -> tuple[Any, bool]:
            try:
                cut = None if descriptor is None else cut_fields(data, descriptor)
                if cut is None or answers_cut:
                    return parse(data if cut is None else cut), cut is not None
            except DecodeError:
                context.abort(grpc.StatusCode.INTERNAL, "the request cannot be parsed")
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, TOO_MANY_FIELDS)
            raise AssertionError  # abort has raised an error

        def one(respond: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(respond)  # gRPC reads its attributes
            def parse_and_respond(data: bytes, context: grpc.ServicerContext, *more: Any) -> Any:
                request, is_cut = read(data, context)
                response = respond(request, context, *more)
                if is_cut:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, TOO_MANY_FIELDS)
                return response

            return parse_and_respond

        def parsed(stream: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            return (read(data, context)[0] for data in stream)

        def many(respond: Callable[..., Any]) -> Callable[..., Any]:
            def parse_and_respond(stream: Iterator[bytes], context: grpc.ServicerContext) -> Any:
                with self._one_stream(context):
                    return respond(parsed(stream, context), context)

            return parse_and_respond

        def many_to_many(respond: Callable[..., Any]) -> Callable[..., Any]:
            def parse_and_respond(stream: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
                with self._one_stream(context):
                    yield from respond(parsed(stream, context), context)

            return parse_and_respond

        serializer = handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(one(handler.unary_unary), response_serializer=serializer)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(one(handler.unary_stream), response_serializer=serializer)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(many(handler.stream_unary), response_serializer=serializer)
        return grpc.stream_stream_rpc_method_handler(
            many_to_many(handler.stream_stream), response_serializer=serializer
        )

    @contextmanager
    def _one_stream(self, context: grpc.ServicerContext) -> Iterator[None]:
        if not self._streams.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams; try again later")
        try:
            yield
        finally:
            self._streams.release()
