"""The gRPC methods of both services."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from ..client.channel import MODEL_SERVICE, PREDICTION_SERVICE
from ..errors import DataError
from ..protocol.messages import STATUS_NAMES
from .batch_ops import Arrays
from .batching import run_unbatched
from .manager import ModelManager
from .model_config import model_configs
from .predict import predict
from .reload_roots import ReloadRoots
from .servable import RequestError
from .unsupported_methods import CLASSIFY, REGRESS, reject, reject_task

log: logging.Logger = logging.getLogger(__name__)

MAX_MESSAGE = 1024  # characters; TensorFlow Serving truncates longer error messages
SIGNATURE_DEF = "signature_def"


class Service:
    """Implements PredictionService and ModelService.

    Args:
        manager: holds the models.
        run: ``run_unbatched``, or ``run`` of a ``Batcher``.
        reload_roots: where clients may load models from; default: nowhere.
    """

    def __init__(
        self,
        manager: ModelManager,
        run: Callable[..., Arrays] = run_unbatched,
        reload_roots: ReloadRoots | None = None,
    ) -> None:
        self._manager = manager
        self._run = run
        self._reload_roots = reload_roots or ReloadRoots()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers of all methods."""
        prediction = {
            "Predict": self._method(self._predict, predict_pb2.PredictRequest),
            "GetModelMetadata": self._method(self._metadata, get_model_metadata_pb2.GetModelMetadataRequest),
            "Classify": self._method(self._classify, classification_pb2.ClassificationRequest),
            "Regress": self._method(self._regress, regression_pb2.RegressionRequest),
            "MultiInference": self._method(self._multi_inference, inference_pb2.MultiInferenceRequest),
        }
        model = {
            "GetModelStatus": self._method(self._status, get_model_status_pb2.GetModelStatusRequest),
            "HandleReloadConfigRequest": self._method(self._reload, model_management_pb2.ReloadConfigRequest),
        }
        return [
            grpc.method_handlers_generic_handler(PREDICTION_SERVICE, prediction),
            grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
        ]

    def call(self, method: str, request: Any, context: Any) -> Any:
        """Answer a request that did not come by gRPC.

        Args:
            method: name of a method with a model_spec, such as "Predict".
            request: its request.
            context: has ``is_active()``.

        Raises:
            RequestError: the request is rejected.
        """
        methods = {
            "Predict": self._predict,
            "GetModelMetadata": self._metadata,
            "Classify": self._classify,
            "Regress": self._regress,
            "GetModelStatus": self._status,
        }
        return methods[method](request, context)

    def _method(self, respond: Callable[[Any, grpc.ServicerContext], Any], request_type: Any) -> grpc.RpcMethodHandler:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            if not context.is_active():
                context.abort(grpc.StatusCode.CANCELLED, "the client cancelled the request while it was queued")
            try:
                return respond(request, context)
            except RequestError as e:
                message = e.message if len(e.message) <= MAX_MESSAGE else e.message[:MAX_MESSAGE] + "...TRUNCATED"
                context.abort(grpc.StatusCode[e.code], message)
            except Exception:
                log.exception("internal error in a request")
                context.abort(grpc.StatusCode.INTERNAL, "internal error; see the server's log")

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    # ---- PredictionService ----

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        return predict(self._manager.find(_spec(request)), request, self._run, context.is_active)

    def _metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec = _spec(request)
        if not request.metadata_field:
            message = "GetModelMetadataRequest must specify at least one metadata_field"
            raise RequestError("INVALID_ARGUMENT", message)
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise RequestError("INVALID_ARGUMENT", f"Metadata field {field} is not supported")
        servable = self._manager.find(spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = servable.version
        response.metadata[SIGNATURE_DEF].Pack(
            get_model_metadata_pb2.SignatureDefMap(signature_def=servable.definitions),
        )
        return response

    def _classify(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec = _spec(request)
        reject(self._manager.find(spec), spec.signature_name, CLASSIFY)

    def _regress(self, request: Any, context: grpc.ServicerContext) -> Any:
        spec = _spec(request)
        reject(self._manager.find(spec), spec.signature_name, REGRESS)

    def _multi_inference(self, request: Any, context: grpc.ServicerContext) -> Any:
        task = request.tasks[0] if request.tasks else inference_pb2.InferenceTask(model_spec=model_pb2.ModelSpec())
        reject_task(self._manager.find(task.model_spec), task.model_spec.signature_name, task.method_name)

    # ---- ModelService ----

    def _status(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = get_model_status_pb2.GetModelStatusResponse()
        state = get_model_status_pb2.ModelVersionStatus.State
        for v in self._manager.status(_spec(request)):
            status = response.model_version_status.add(version=v.version, state=state.Value(v.state))
            status.status.error_code = STATUS_NAMES.index(v.error_code)
            status.status.error_message = v.error
        return response

    def _reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._reload_roots.check_allowed()
        if request.config.WhichOneof("config") != "model_config_list":
            raise RequestError(
                "INVALID_ARGUMENT",
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported",
            )
        try:
            configs = model_configs(request.config)
            self._reload_roots.check(configs)
            failed = self._manager.reload(configs)
        except DataError as e:
            raise RequestError("INVALID_ARGUMENT", str(e)) from e
        if failed:
            models = ", ".join(f"{{name: {name}}} due to error: {error}" for name, error in failed.items())
            raise RequestError("UNKNOWN", f"{len(failed)} model(s) did not become available: {{{models}}}")
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0  # OK; as in TensorFlow Serving, errors are the status of the call
        return response


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise RequestError("INVALID_ARGUMENT", "Missing ModelSpec")
    return request.model_spec
