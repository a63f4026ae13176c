"""Requests parsed where they are handled, so that those that cannot be parsed leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import grpc
from google.protobuf.message import DecodeError


class Parsing(grpc.ServerInterceptor):  # type: ignore[misc]
    """Parses single requests in the thread that handles them; what is none of the method's is INTERNAL, as with C++.

    gRPC parses before that, and of every message that it cannot parse keeps 19 KB for ever (grpcio 1.85).
    """

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """The handler of a call, given the bytes of its request."""
        handler = continuation(call)
        if handler is None or handler.request_streaming:
            return handler
        parse = handler.request_deserializer
        respond = handler.unary_stream or handler.unary_unary

        @wraps(respond)  # gRPC looks at its attributes
        def parsed(data: bytes, context: grpc.ServicerContext, *more: Any) -> Any:
            try:
                request = parse(data)
            except DecodeError:
                context.abort(grpc.StatusCode.INTERNAL, "the request cannot be parsed")
            return respond(request, context, *more)

        kind = grpc.unary_stream_rpc_method_handler if handler.unary_stream else grpc.unary_unary_rpc_method_handler
        return kind(parsed, response_serializer=handler.response_serializer)
