"""Train a network on prepared drawings; the same call continues a run that was interrupted.

The loop is its own instead of ``Model.fit`` with callbacks, so that nothing that decides the course of a run lives in
memory alone: what comes next is a function of the arguments and of the figures of the epochs so far, and both are in
the run directory (see ``runs``).
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...dataset.shards import Prepared, Rows, open_prepared
from ...errors import DataError
from ...storage.files import local_path, only_writer, replacing
from ...storage.progress import counted, duration
from ..models.baselines import BASELINES
from .batches import bucket_lengths, check_range, check_rows, without_drawings
from .fit import fit
from .recipes import Plan, Recipe, recipe, schedule
from .runs import (
    Epoch,
    Run,
    Trained,
    best_epoch,
    checkpoint_path,
    commit,
    differences,
    first_line,
    planned_epochs,
    read_history,
    run_info,
    settle,
    start_run,
    weights_path,
)

if TYPE_CHECKING:
    import keras

    from ..models.networks import Network

BACKENDS = ("tensorflow", "jax")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def train(
    data: Prepared | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str = "stroke_conv",
    recipe: str | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    max_len: int | None = None,
    precision: str = "float32",
    recurrent_dropout: float = 0.0,
    patience: int | None = None,
    seed: int = 42,
    max_minutes: float | None = None,
    buckets: Sequence[int] | None = None,
    resident: bool | None = None,
    distribute: str = "auto",
    log: Callable[[str], None] = print,
) -> Trained:
    """Train on the training split, and keep the weights with the lowest loss on the validation split.

    Called again, it continues an unfinished run after its last finished epoch, with the result it would have had
    undisturbed, and leaves a finished one as it is. ``max_minutes`` may be different, and ``epochs`` larger, unless the
    recipe's learning rate depends on it. Where it does and ``epochs`` is not given, ``max_minutes`` sets their number
    instead, at most the recipe's: as many as the first two let expect to fit, so that the rate has fallen at the end.

    Args:
        data: a prepared directory; of strokes for any network, of bitmaps for one that takes these.
        out: the run directory, created if missing.
        model: a name in ``models.MODELS``, or in ``baselines.BASELINES``; for these see ``fit``.
        recipe: a name in ``recipes.RECIPES``; default: the model's.
        epochs: at most so many. This, ``batch``, ``learning_rate``, ``patience``: default, the recipe's.
        batch: drawings a step.
        learning_rate: the first, or the highest; see ``recipes`` for what becomes of it.
        max_len: drawings are cut to so many points, for a network of strokes; default: the model's.
        precision: "float32", "mixed_float16" or "mixed_bfloat16".
        recurrent_dropout: as in the notebook's LSTMs if 0.3; above 0, cuDNN cannot be used.
        patience: epochs without a lower validation loss after which to stop; only for a recipe that has one.
        seed: of weights, dropout and order.
        max_minutes: begin no epoch that would not be finished after so long (but one in any case).
        buckets: lengths below ``max_len`` to pad to; default: the model's, on a GPU none.
        resident: keep the drawings on the device, and gather and pad them there; default: if it is a GPU and they take
            no more than 8 GiB there.
        distribute: who trains together, as in ``workers.join``. Every worker makes the same call, ``batch`` is that of
            all, and only the chief, the first in TF_CONFIG, reads and writes ``out``.
        log: called with one line at the beginning, after each epoch and at the end; by workers that are not the chief
            with one that says so.

    Raises:
        DataError: arguments, data or ``out`` unfit for training; ``out`` is the run of other arguments or data, or
            another process is training in it; a worker was called otherwise than the chief.
        TrainingError: the loss is no longer a finite number, or there is no memory left.
        WorkerError: another worker is gone. The same call, by all of them, goes on after the last finished epoch.
    """
    out = local_path(out)
    if model in BASELINES:
        of_networks = {
            "recipe": recipe,
            "epochs": epochs,
            "batch": batch,
            "learning_rate": learning_rate,
            "max_len": max_len,
            "precision": precision if precision != "float32" else None,
            "recurrent_dropout": recurrent_dropout or None,
            "patience": patience,
            "max_minutes": max_minutes,
            "buckets": buckets,
            "resident": resident,
            "distribute": distribute if distribute not in ("auto", "none") else None,
        }
        return fit(data, out, model=model, seed=seed, of_networks=of_networks, log=log)
    how, known, name = _looked_up(model, recipe)
    if patience is not None and how.patience is None:
        raise DataError(f"recipe {name} trains all its epochs: it takes no patience")
    if recurrent_dropout and not known.recurrent:
        raise DataError(f"{model} has no LSTM: it takes no recurrent_dropout")
    if known.takes == "bitmaps" and (max_len is not None or buckets is not None):
        raise DataError(f"{model} takes bitmaps: max_len and buckets are for strokes")
    fitted = max_minutes is not None and epochs is None and how.patience is None
    epochs = how.epochs if epochs is None else epochs
    arguments: dict[str, Any] = {
        "model": model,
        "recipe": name,
        "batch": how.batch if batch is None else batch,
        "learning_rate": how.learning_rate if learning_rate is None else learning_rate,
        "max_len": known.max_len if max_len is None else max_len,
        "precision": precision,
        "recurrent_dropout": recurrent_dropout,
        "seed": seed,
        "buckets": list(known.buckets if buckets is None else buckets),
        **(
            {"epochs": epochs} if how.patience is None else {"patience": how.patience if patience is None else patience}
        ),
    }
    _check_arguments(arguments, epochs)
    prepared = data if isinstance(data, Prepared) else open_prepared(data)
    training, validation = prepared.rows("train"), prepared.rows("validation")
    check_rows(known.takes, prepared, training, validation, model)

    from ..device import cache_compiled, on_gpu
    from .averaging import Averaging
    from .epoch import Course, enough_memory
    from .supply import RESIDENT, resident_size
    from .workers import join

    until = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    _check_backend()
    workers = join(distribute)  # before anything asks for a GPU: JAX would no longer join
    cache_compiled()
    if buckets is None and on_gpu():
        arguments["buckets"] = []  # another shape to compile would cost more than the padding
    with workers.watched(), enough_memory(), ExitStack() as held:
        net = _new_network(arguments, len(prepared.classes))
        info = _info(arguments, prepared, training, validation, net)
        asked = {**arguments, "epochs": epochs, "max_minutes": max_minutes, "data": prepared.digest}
        if changed := differences(workers.agreed(asked), asked):
            raise DataError(f"worker {workers.index}: the chief was called with {changed}")
        with workers.led():
            if workers.chief:
                held.enter_context(only_writer(out, "training in"))
                run, history = start_run(out, info), read_history(out)
            else:
                run, history = Run(out, info), []
            if history:
                _restore(net, checkpoint_path(run.path, len(history)))
            averaging = Averaging(net, how.averaging > 0)
            if history:
                averaging.load(weights_path(run.path, len(history)))
        feed, history = run.feed, workers.agreed(history)
        if workers.chief:
            settle(run.path, history)
        else:
            log(f"{run.path}: worker {workers.index} of {workers.count}; the chief says how it goes")
            log = _silent
        log(
            f"{run.path}: {model}, {net.count_params():,} parameters, {len(prepared.classes)} classes, "
            f"{len(training):,} drawings to train on, {len(validation):,} to validate"
            + (f"; finished so far: {counted(len(history), 'epoch')}" if history else "")
        )
        if few := without_drawings(validation):
            log(f"{run.path}: no drawings in the validation split of {', '.join(few)}: nothing is known of these")
        course = None
        slowest = 0.0  # of this call's epochs, seconds
        while True:
            plan = _plan(arguments, history)
            planned = planned_epochs(history, epochs) if how.patience is None else epochs
            if plan.stop:
                stopped = f"stopped, no lower validation loss for {counted(arguments['patience'], 'epoch')}"
                break
            if len(history) >= planned:
                stopped = f"finished, {counted(len(history), 'epoch')}"
                if planned < epochs:
                    stopped += f" of {epochs}, for want of time"
                if fitted and planned == 1 < epochs:
                    stopped += " (so the learning rate never fell)"
                break
            if workers.agreed(not fitted and slowest > max(0.0, until - time.monotonic())):
                stopped = f"stopped, another epoch would not fit into {max_minutes:g} minutes"
                break
            if course is None:
                if resident is None:
                    size = resident_size(training, feed) + resident_size(validation, feed)
                    resident = on_gpu() and size <= RESIDENT
                course = Course(
                    net,
                    how,
                    averaging,
                    training,
                    validation,
                    feed,
                    batch=arguments["batch"],
                    seed=seed,
                    resident=resident,
                    workers=workers,
                )
                log(f"{run.path}: {course.about()}")
            number = len(history) + 1
            figures = course.epoch(number, planned, plan.learning_rate)
            slowest = max(slowest, figures["seconds"])
            if fitted:
                left = until - time.monotonic()
                figures["epochs"] = _fitted(number, planned, epochs, left / figures["seconds"])
            history = [*history, workers.agreed(figures)]
            planned = planned_epochs(history, planned)
            if workers.chief:
                averaging.save(weights_path(run.path, number))
                with replacing(checkpoint_path(run.path, len(history))) as temporary:
                    net.save(temporary)
                commit(run.path, history)
            log(_line(figures, planned) + ("  *" if best_epoch(history) == len(history) else ""))

    best = history[best_epoch(history) - 1]
    log(
        f"{run.path}: {stopped}; the best is epoch {best['epoch']}, validation top-1 {best['val_top1']:.2%}, "
        f"top-3 {best['val_top3']:.2%}, loss {best['val_loss']:.4f}"
        + (f", temperature {best['temperature']:.3f}" if "temperature" in best else "")
    )
    return Trained(run.path, len(history), best_epoch(history), best, stopped)


def _silent(line: str) -> None:
    pass


def _looked_up(model: str, name: str | None) -> tuple[Recipe, Network, str]:
    """The recipe, which is the model's unless named, the network, and the recipe's name."""
    from ..models.networks import network

    known = network(model)
    name = known.recipe if name is None else name
    how = recipe(name)
    if how.augmented and (known.takes == "bitmaps" or known.standardized):
        raise DataError(f"recipe {name} alters drawings by their raw steps, which {model} does not take")
    return how, known, name


def _fitted(number: int, planned: int, epochs: int, left: float) -> int:
    """How many epochs there are to be after epoch ``number``, where ``left`` more would fit into the time.

    The first epoch is slower than the others, so that the second may still raise the number; later it only falls.
    """
    if number <= 2:
        return max(number, min(epochs, number + int(0.95 * left)))
    return max(number, min(planned, number + int(left)))


def _plan(arguments: dict[str, Any], history: list[Epoch]) -> Plan:
    if "patience" not in arguments:
        return Plan(arguments["learning_rate"], False)
    losses = [e["val_loss"] for e in history]
    return schedule(losses, learning_rate=arguments["learning_rate"], patience=arguments["patience"])


def _check_arguments(arguments: dict[str, Any], epochs: int) -> None:
    """Raises DataError for a number that is out of range."""
    for name, low in (("batch", 2), ("patience", 1), ("seed", 0)):
        if name in arguments:
            check_range(name, arguments[name], low)
    bucket_lengths(arguments["max_len"], arguments["buckets"])
    if epochs < 1:
        raise DataError(f"epochs is {epochs}: it must be at least 1")
    if not 0 < arguments["learning_rate"] < math.inf:
        raise DataError(f"learning_rate is {arguments['learning_rate']}: it must be positive")
    if not 0 <= arguments["recurrent_dropout"] < 1:
        raise DataError(f"recurrent_dropout is {arguments['recurrent_dropout']}: it must be at least 0 and below 1")
    if arguments["precision"] not in PRECISIONS:
        raise DataError(f"precision is {arguments['precision']!r}: it must be one of {', '.join(PRECISIONS)}")


def _check_backend() -> None:
    import keras

    if keras.backend.backend() not in BACKENDS:
        raise DataError(f"Keras runs on {keras.backend.backend()} here: KERAS_BACKEND must be {' or '.join(BACKENDS)}")


def _new_network(arguments: dict[str, Any], classes: int) -> keras.Model:
    import keras

    from ..models.networks import build

    keras.utils.set_random_seed(arguments["seed"])  # of the initial weights
    net = build(
        arguments["model"],
        classes=classes,
        recurrent_dropout=arguments["recurrent_dropout"],
        precision=arguments["precision"],
    )
    optimizer = recipe(arguments["recipe"]).optimizer(arguments["learning_rate"])
    if arguments["precision"] == "mixed_float16":
        # compile() would do this too, but what it wraps by itself it does not save.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(net.trainable_variables)
    net.compile(optimizer)  # so that it is saved with the network; the steps are our own
    return net


def _restore(net: keras.Model, path: Path) -> None:
    """A checkpoint's weights and optimizer state into a new network, which knows what a file does not."""
    import keras

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras warns where it leaves an optimizer's state out
            saved = keras.saving.load_model(path)
        for ours, theirs in ((net, saved), (net.optimizer, saved.optimizer)):
            for variable, value in zip(ours.variables, theirs.variables, strict=True):
                variable.assign(value)
    except Exception as e:  # Keras lets out whatever zipfile, h5py and its own code raise
        raise DataError(f"{path}: not a checkpoint, or damaged: {first_line(e)}") from e


def _info(
    arguments: dict[str, Any], prepared: Prepared, training: Rows, validation: Rows, net: keras.Model
) -> dict[str, Any]:
    import keras

    backend, size = keras.backend.backend(), net.count_params()
    packages = ("keras", backend)
    return run_info(arguments, prepared, training, validation, parameters=size, backend=backend, packages=packages)


def _line(figures: Epoch, epochs: int) -> str:
    f = figures
    return (
        f"epoch {f['epoch']:>{len(str(epochs))}}/{epochs}  loss {f['loss']:.4f}  top-1 {f['top1']:.2%}  "
        f"validation: loss {f['val_loss']:.4f}  top-1 {f['val_top1']:.2%}  top-3 {f['val_top3']:.2%}  "
        f"learning rate {f['learning_rate']:.2g}  {duration(f['seconds'])}  {f['drawings_per_s']:,.0f} drawings/s"
    )
