"""The gRPC methods: messages in, messages or statuses out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from .batching import run_alone
from .manager import Manager
from .predict import answer
from .rows import Arrays
from .servable import RequestError

log = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
MAX_MESSAGE = 1024  # characters of an error that TensorFlow Serving sends


class Service:
    """Answers from the versions that ``manager`` holds; ``run`` runs them, as in ``predict.answer``."""

    def __init__(self, manager: Manager, run: Callable[..., Arrays] = run_alone) -> None:
        self._manager = manager
        self._run = run

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Handlers of the methods there are; gRPC itself answers UNIMPLEMENTED to all others."""
        return [
            grpc.method_handlers_generic_handler(
                PREDICTION_SERVICE, {"Predict": self._method(self._predict, predict_pb2.PredictRequest)}
            ),
            grpc.method_handlers_generic_handler(
                MODEL_SERVICE,
                {"GetModelStatus": self._method(self._status, get_model_status_pb2.GetModelStatusRequest)},
            ),
        ]

    def _method(self, respond: Callable[[Any, grpc.ServicerContext], Any], request_type: Any) -> grpc.RpcMethodHandler:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            if not context.is_active():
                context.abort(grpc.StatusCode.CANCELLED, "given up while it waited for a thread")
            try:
                if not request.HasField("model_spec"):
                    raise RequestError("INVALID_ARGUMENT", "Missing ModelSpec")
                return respond(request, context)
            except RequestError as e:
                message = e.message if len(e.message) <= MAX_MESSAGE else e.message[:MAX_MESSAGE] + "...TRUNCATED"
                context.abort(grpc.StatusCode[e.code], message)
            except Exception:
                log.exception("a request failed")
                context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log says more")

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        return answer(self._manager.find(request.model_spec), request, self._run, context.is_active)

    def _status(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = get_model_status_pb2.GetModelStatusResponse()
        state = get_model_status_pb2.ModelVersionStatus.State
        for v in self._manager.status(request.model_spec):
            status = response.model_version_status.add(version=v.version, state=state.Value(v.state))
            status.status.error_code = 2 if v.error else 0  # UNKNOWN or OK
            status.status.error_message = v.error
        return response
