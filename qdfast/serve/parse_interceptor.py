"""A gRPC interceptor that parses requests, so that invalid ones do not leak memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import grpc
from google.protobuf.message import DecodeError


class ParseInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Parses each single request in its handler's thread; invalid requests get INTERNAL, as from a C++ server.

    gRPC itself would parse before that, and leaks 19 KB for every message that it cannot parse (grpcio 1.85).
    """

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """Return a handler that receives the serialized request."""
        handler = continuation(call)
        if handler is None or handler.request_streaming:
            return handler
        parse = handler.request_deserializer
        respond = handler.unary_stream or handler.unary_unary

        @wraps(respond)  # gRPC reads its attributes
        def parse_and_respond(data: bytes, context: grpc.ServicerContext, *more: Any) -> Any:
            try:
                request = parse(data)
            except DecodeError:
                context.abort(grpc.StatusCode.INTERNAL, "the request cannot be parsed")
            return respond(request, context, *more)

        make = grpc.unary_stream_rpc_method_handler if handler.unary_stream else grpc.unary_unary_rpc_method_handler
        return make(parse_and_respond, response_serializer=handler.response_serializer)
