"""The smallest model that answers the recorded requests with the recorded numbers.

It has the signatures and the checks of an exported network, and a table in place of the network: each of the three
recorded drawings is known by the first step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = json.loads((Path(__file__).parent / "serve" / "recorded" / "rest.json").read_text())
ROWS: dict[str, dict[str, Any]] = {row["name"]: row for row in RECORDED["answers"]}
FIRST_STEPS = (3, 9, 70000 - (1 << 16))


def write_model(model_dir: Path) -> None:
    """Write version 1 of the model into ``model_dir``."""
    import tensorflow as tf

    from qdfast.learn.export.serving_graph import DeltaInput
    from qdfast.storage.names import MODEL_INFO

    table = np.array(_predictions("rows") + _predictions("out of int16"), np.float32)
    classes = [f"class {i}" for i in range(table.shape[1])]
    for probabilities, best in zip(table[:2], _predictions("rows signature"), strict=True):
        for label, score in zip(best["labels"], best["scores"], strict=True):
            classes[int(np.flatnonzero(probabilities == np.float32(score))[0])] = label

    class Classifier(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.served = DeltaInput(None, 196)
            self.table = tf.Variable(table, trainable=False)

        def probabilities(self, deltas: Any, lengths: Any) -> Any:
            steps = self.served(deltas, lengths)["deltas"]
            known = tf.constant(FIRST_STEPS, tf.float32)
            return tf.gather(self.table, tf.argmin(tf.abs(steps[:, 0, :1] - known), axis=1))

        @tf.function(input_signature=DeltaInput.specs)  # type: ignore[untyped-decorator]
        def serving_default(self, deltas: Any, lengths: Any) -> Any:
            return {"probabilities": self.probabilities(deltas, lengths)}

        @tf.function(input_signature=DeltaInput.specs)  # type: ignore[untyped-decorator]
        def top_k(self, deltas: Any, lengths: Any) -> Any:
            scores, index = tf.math.top_k(self.probabilities(deltas, lengths), 10)
            return {"labels": tf.gather(tf.constant(classes), index), "scores": scores}

    model = Classifier()
    signatures = {"serving_default": model.serving_default, "top_k": model.top_k}
    tf.saved_model.save(model, str(model_dir / "1"), signatures=signatures)
    about = model_dir / "1" / MODEL_INFO
    about.parent.mkdir()
    about.write_text(json.dumps({"classes": classes, "independent_rows": list(signatures)}))


def _predictions(name: str) -> list[Any]:
    predictions: list[Any] = json.loads(ROWS[name]["answer"])["predictions"]
    return predictions
