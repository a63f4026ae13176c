"""The networks by name, and their defaults. Separate from ``networks``, so that importing it does not need Keras."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._suggest import did_you_mean
from ...errors import DataError
from ...storage.names import Kind
from .baselines import BASELINES
from .buckets import BUCKETS

if TYPE_CHECKING:
    import keras


class Network(NamedTuple):
    """A network and its defaults for training.

    Attributes:
        build: called with ``classes``, ``recurrent_dropout`` and ``export``, as the function ``networks.build``.
        summary, purpose: what it is, and what it is for; shown by ``qdfast models``.
        takes: strokes or bitmaps.
        recipe: default training recipe, a name in ``training.recipes``.
        standardized: whether it takes standardized instead of raw steps.
        recurrent: whether it has LSTMs.
        max_len: longer drawings are cut to this many points.
        buckets: lengths to pad to, apart from ``max_len``.
        parameters: number of parameters: a constant, and so many more per class. None: not known without building it.
    """

    build: Callable[..., keras.Model]
    summary: str
    takes: Kind = "strokes"
    recipe: str = "notebook"
    standardized: bool = True
    recurrent: bool = False
    max_len: int = 196
    buckets: tuple[int, ...] = BUCKETS
    purpose: str = ""
    parameters: tuple[int, int] | None = None


def _builder(name: str) -> Callable[..., keras.Model]:
    """The function ``networks.NAME``, imported when it is called."""

    def build(**options: Any) -> keras.Model:
        return getattr(import_module(f"{__package__}.networks"), name)(**options)

    return build


MODELS = {
    "stroke_lstm": Network(
        _builder("stroke_lstm"),
        "three convolutions, two LSTMs of 128 units, dense 128 (the notebook's network)",
        recurrent=True,
        # A quarter faster than BUCKETS. With 54,500 drawings as accurate from the fourth epoch on; with a few thousand,
        # it learns less per epoch.
        buckets=(32, 40, 48, 64, 96, 128),
        purpose="to compare with the notebook",
        parameters=(299_360, 129),
    ),
    "stroke_bilstm": Network(
        _builder("stroke_bilstm"),
        "three convolutions, a bidirectional LSTM of 2 x 128 units, attention and max pooling",
        recipe="strong",
        standardized=False,
        recurrent=True,
        max_len=128,
        purpose="to compare with a recurrent network; modelled on Kaggle's best stroke-only solution",
        parameters=(499_460, 129),
    ),
    "stroke_conv": Network(
        _builder("stroke_conv"),
        "convolutions over the strokes and over their image, no recurrence",
        recipe="strong",
        standardized=False,
        max_len=128,
        buckets=(32, 40, 48, 64, 96),  # without batch normalization of steps, fine buckets do no harm
        purpose="the default: the most accurate, and the fastest on a CPU",
        parameters=(858_052, 257),
    ),
    "bitmap_cnn": Network(
        _builder("bitmap_cnn"),
        "two convolutions, dense 128 and 50 on 28 x 28 pixels (the blog's network)",
        "bitmaps",
        purpose="for data that has only bitmaps; to compare with the blog",
        parameters=(59_423, 51),
    ),
}


def network(name: str) -> Network:
    """Look up a network by name.

    Raises:
        DataError: there is no such network.
    """
    if name not in MODELS:
        names = [*MODELS, *BASELINES]
        raise DataError(f"no model named {name!r}{did_you_mean(name, names)}; choose from {', '.join(names)}")
    return MODELS[name]
