"""What a server answers to Predict, with the official stubs and with our client: the embedded server, and TensorFlow Serving.

The same tests run against both; those with ``tensorflow_model_server`` are skipped where it is not installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_model
from scripted_server import TIMEOUT, drawings

from qdfast import client
from qdfast.protocol import messages

pytest.importorskip("tensorflow_serving")
import tensorflow as tf
from served import Served, expected, raw_inputs, request
from tensorflow_serving.apis import predict_pb2

# ---- answers ----


def test_predict_with_the_official_stubs(served: Served) -> None:
    response = served.predict(request())
    assert (response.model_spec.name, response.model_spec.version.value) == ("tiny", 3)
    assert response.model_spec.signature_name == "serving_default"
    assert set(response.outputs) == {"probabilities"}
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected(), atol=1e-6)


def test_top_k_with_the_official_stubs(served: Served) -> None:
    response = served.predict(request(signature="top_k"))
    assert response.model_spec.signature_name == "top_k"
    labels, scores = (tf.make_ndarray(response.outputs[name]) for name in ("labels", "scores"))
    best = np.argsort(-expected(), axis=1)[:, : tiny_model.K]
    assert [[c.decode() for c in row] for row in labels] == np.array(tiny_model.CLASSES)[best].tolist()
    np.testing.assert_allclose(scores, np.take_along_axis(expected(), best, axis=1), atol=1e-6)


def test_our_client(served: Served) -> None:
    d = drawings()
    choices: list[dict[str, Any]] = [{}, {"max_batch": 3}, {"version": 3}]
    for options in choices:
        with client.Client(served.target, model="tiny", timeout=TIMEOUT, **options) as c:
            assert c.wait_ready(TIMEOUT) == 3
            np.testing.assert_allclose(c.probabilities(d), expected(), atol=1e-6)
            p = c.predict(d, k=2)
            best = np.argsort(-expected(), axis=1)[:, :2]
            assert p.labels.tolist() == np.array(tiny_model.CLASSES)[best].tolist()
            assert p.version == 3


def test_metadata_for_our_client(served: Served) -> None:
    with client.Client(served.target, model="tiny", timeout=TIMEOUT) as c:
        metadata = c.metadata()
    assert metadata.version == 3
    deltas, lengths = messages.TensorSpec("int16", (None, None, 3)), messages.TensorSpec("int32", (None,))
    assert metadata.signatures["top_k"].inputs == {"deltas": deltas, "lengths": lengths}
    assert metadata.signatures["top_k"].outputs["labels"].dtype == "string"


def test_padding_does_not_matter(served: Served) -> None:
    inputs = raw_inputs()
    padded = {**inputs, "deltas": np.pad(inputs["deltas"], ((0, 0), (0, 50), (0, 0)))}
    response = served.predict(request(inputs=padded))
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected(), atol=1e-6)


def test_answers_come_in_typed_fields(served: Served) -> None:
    response = served.predict(request(signature="top_k"))
    scores, labels = response.outputs["scores"], response.outputs["labels"]
    assert not scores.tensor_content
    n = len(drawings()) * tiny_model.K
    assert (len(scores.float_val), len(labels.string_val)) == (n, n)


def test_inputs_may_come_in_typed_fields_and_be_filled(served: Served) -> None:
    r = request(inputs={})
    inputs: dict[str, np.ndarray] = {"deltas": np.full((2, 4, 3), 9, np.int16), "lengths": np.array([4, 4], np.int32)}
    messages.encode_tensor(np.array([9], np.int16), r.inputs["deltas"], fields=True)
    del r.inputs["deltas"].tensor_shape.dim[:]
    for size in (2, 4, 3):
        r.inputs["deltas"].tensor_shape.dim.add(size=size)
    messages.encode_tensor(inputs["lengths"], r.inputs["lengths"], fields=True)
    got = tf.make_ndarray(served.predict(r).outputs["probabilities"])
    np.testing.assert_allclose(got, expected(inputs), atol=1e-6)


def test_output_filter(served: Served) -> None:
    assert set(served.predict(request(signature="top_k", outputs=("scores",))).outputs) == {"scores"}
    both = served.predict(request(signature="top_k", outputs=("scores", "labels")))
    assert set(both.outputs) == {"scores", "labels"}


def test_a_large_request_and_answer(served: Served) -> None:
    d = drawings([900] * 1000)
    r = request(inputs=raw_inputs(d))
    assert r.ByteSize() > 5 << 20
    response = served.predict(r)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probabilities"]), expected(raw_inputs(d)), atol=1e-6)


# ---- refusals of Predict ----


def test_unknown_model(served: Served) -> None:
    assert served.refused(request(model="nope")) == ("NOT_FOUND", "Servable not found for request: Latest(nope)")


@pytest.mark.parametrize("version", [2, 7])
def test_unloaded_version(served: Served, version: int) -> None:
    r = request()
    r.model_spec.version.value = version
    assert served.refused(r) == ("NOT_FOUND", f"Servable not found for request: Specific(tiny, {version})")


def test_unknown_version_label(served: Served) -> None:
    r = request()
    r.model_spec.version_label = "stable"
    assert served.refused(r) == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


def test_missing_model_spec(served: Served) -> None:
    assert served.refused(predict_pb2.PredictRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_model_without_a_name(served: Served) -> None:
    assert served.refused(request(model="")) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_unknown_signature(served: Served) -> None:
    r = request(signature="nope")
    assert served.refused(r) == ("FAILED_PRECONDITION", 'Serving signature key "nope" not found.')


def test_missing_and_extra_inputs(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={"lengths": inputs["lengths"]}))
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "input size does not match signature: 1!=2 len({lengths}) != len({deltas,lengths}). "
        "Sent extra: {}. Missing but required: {deltas}."
    )
    code, message = served.refused(request(inputs={**inputs, "b": np.ones(1), "a": np.ones(1)}))
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "input size does not match signature: 4!=2 len({a,b,deltas,lengths}) != len({deltas,lengths}). "
        "Sent extra: {a,b}. Missing but required: {}."
    )


def test_misnamed_input(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={"deltas": inputs["deltas"], "length": inputs["lengths"]}))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(
        "Signature input alias: lengths(feed name: serving_default_lengths:0) not found in request"
    )


def test_unknown_output(served: Served) -> None:
    r = request(signature="top_k", outputs=("labels", "nope"))
    assert served.refused(r) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: nope Outputs expected to be in the set {labels,scores}.",
    )
    r = request(signature="top_k", outputs=("labels", "labels"))
    assert served.refused(r) == ("INVALID_ARGUMENT", "duplicate output tensor alias: labels")


def test_unparsable_tensor(served: Served) -> None:
    r = request()
    r.inputs["deltas"].tensor_content = b"xyz"
    assert served.refused(r) == ("INVALID_ARGUMENT", "tensor parsing error: deltas")


def test_wrong_dtype(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={**inputs, "deltas": inputs["deltas"].astype(np.float32)}))
    assert (code, message) == ("INVALID_ARGUMENT", "Expects arg[0] to be int16 but float is provided")


@pytest.mark.parametrize("shape", [(40, 3), (2, 20, 2), (1, 2, 20, 3), ()])
def test_wrong_shape(served: Served, shape: tuple[int, ...]) -> None:
    inputs = {"deltas": np.ones(shape, np.int16), "lengths": np.array([20, 20], np.int32)}
    code, message = served.refused(request(inputs=inputs))
    assert code == "INVALID_ARGUMENT"
    assert f"[{','.join(map(str, shape))}] is not compatible with expected shape [?,?,3]" in message


def test_the_graphs_own_checks(served: Served) -> None:
    inputs = raw_inputs()
    code, message = served.refused(request(inputs={**inputs, "lengths": inputs["lengths"][1:]}))
    assert code == "INVALID_ARGUMENT"
    assert "deltas and lengths differ" in message
    code, message = served.refused(request(inputs={**inputs, "lengths": inputs["lengths"] * 0}))
    assert code == "INVALID_ARGUMENT"
    assert "a drawing without points" in message


def test_no_refusal_is_a_traceback(served: Served) -> None:
    inputs = raw_inputs()
    for wrong in (
        {"deltas": inputs["deltas"][0]},
        {"lengths": inputs["lengths"][None]},
        {"lengths": inputs["lengths"] * 0},
    ):
        code, message = served.refused(request(signature="top_k", inputs={**inputs, **wrong}))
        assert code == "INVALID_ARGUMENT"
        assert not any(word in message for word in ("Traceback", "File ", "Graph execution error"))


def test_a_long_message_is_cut(served: Served) -> None:
    code, message = served.refused(request(inputs={f"{i:04}": np.ones(1) for i in range(300)}))
    assert code == "INVALID_ARGUMENT"
    assert len(message) == 1024 + len("...TRUNCATED")
    assert message.endswith("...TRUNCATED")


def test_a_refusal_leaves_the_server_answering(served: Served) -> None:
    served.refused(request(model="nope"))
    served.refused(request(inputs={**raw_inputs(), "deltas": np.ones((40, 3), np.int16)}))
    assert served.predict(request()).outputs


# ---- our client's view of refusals ----


def test_our_client_is_refused(served: Served) -> None:
    d = drawings([3])
    with client.Client(served.target, model="nope", timeout=TIMEOUT) as c:
        for ask in (lambda: c.predict(d), c.model_status, lambda: c.wait_ready(0.1)):
            with pytest.raises(client.ModelNotFound, match=f"model 'nope' at {served.target}: NOT_FOUND: "):
                ask()
    with (
        client.Client(served.target, model="tiny", version=99, timeout=TIMEOUT) as c,
        pytest.raises(client.ModelNotFound, match=r"Specific\(tiny, 99\)"),
    ):
        c.predict(d)
    with client.Client(served.target, model="tiny", timeout=TIMEOUT) as c:
        assert c.predict(d, k=4).labels.shape == (len(d), 3)
