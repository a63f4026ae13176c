"""A network that is traced and trained in seconds, for the tests of qdfast.learn."""

from __future__ import annotations

COMPILE_FAST = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
"""Environment of processes that use JAX: compiling takes them longer than computing."""


def add_tiny() -> None:
    """Make ``tiny`` and ``tiny_raw`` known: every kind of layer and random state of the real networks, a few units each."""
    from qdfast._quiet import minimal_imports
    from qdfast.learn.backend import import_keras

    with minimal_imports():  # as the command line does
        import_keras()

    import keras
    from keras import layers

    from qdfast.learn.models import networks
    from qdfast.learn.models.layers import AttentionPooling, LastStep, MaskSteps, SequenceMask, StepFeatures

    def tiny(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
        deltas = keras.Input((None, 3), dtype="float32", name="deltas")
        lengths = keras.Input((), dtype="int32", name="lengths")
        mask = SequenceMask(name="mask")(deltas, lengths)
        x = MaskSteps(name="masked0")(deltas, mask)
        x = layers.Conv1D(8, 5, padding="same", name="conv")(x)
        x = layers.BatchNormalization(momentum=0.9, name="norm")(x, mask=mask)
        x = layers.Dropout(0.2, name="drop")(layers.ReLU(name="relu")(x))
        x = MaskSteps(name="masked1")(x, mask)
        dropout = {"dropout": 0.0 if export else 0.3, "recurrent_dropout": 0.0 if export else recurrent_dropout}
        x = layers.LSTM(8, return_sequences=True, use_cudnn=False if export else "auto", name="lstm", **dropout)(x)
        x = LastStep(name="last")(x, lengths)
        x = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
        return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="tiny")

    def tiny_raw(*, classes: int, recurrent_dropout: float, export: bool) -> keras.Model:
        """What the strong recipe can train: of raw steps."""
        deltas = keras.Input((None, 3), dtype="float32", name="deltas")
        lengths = keras.Input((), dtype="int32", name="lengths")
        mask = SequenceMask(dtype="float32", name="mask")(deltas, lengths)
        x = MaskSteps(dtype="float32", name="masked0")(deltas, mask)
        x = MaskSteps(name="masked1")(StepFeatures(dtype="float32", name="features")(x), mask)
        x = layers.Conv1D(16, 5, padding="same", activation="relu", name="conv")(x)
        x = layers.SpatialDropout1D(0.1, name="drop")(x)
        x = AttentionPooling(2, dtype="float32", name="attention")(x, mask)
        x = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
        return keras.Model({"deltas": deltas, "lengths": lengths}, x, name="tiny_raw")

    networks.MODELS.setdefault("tiny", networks.Network(tiny, "for tests"))
    networks.MODELS.setdefault("tiny_raw", networks.Network(tiny_raw, "for tests", recipe="strong", standardized=False))
