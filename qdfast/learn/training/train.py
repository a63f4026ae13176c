"""Train a network on prepared drawings; the same call continues a run that was interrupted.

How a run continues depends only on its configuration and on the metrics of its finished epochs. Both are in the run
directory (see ``runs``), so a run that was killed and resumed gives the same result as an uninterrupted one. That is
why the loop is here and not in ``Model.fit`` with callbacks, which keep such state in memory.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._quiet import without_stderr
from ...dataset.prepared import Prepared, open_prepared
from ...dataset.rows import Rows
from ...errors import DataError
from ...storage.directories import RUN, output
from ...storage.files import local_path, only_writer, replacing
from ...storage.progress import counted, duration
from ..backend import BACKENDS, check_backend, import_keras
from ..models.baselines import BASELINES
from .batches import check_rows, without_drawings
from .config import SettledConfig, TrainConfig
from .fit_baseline import fit
from .history import Epoch, best_epoch, check_weights, checkpoint_path, commit, finalize_run, first_line, read_history
from .initial import open_initial
from .recipes import recipe
from .runs import Run, Trained, describe_mismatch, earlier_run, run_info, start_run
from .schedule import Schedule
from .workers import cluster_for

if TYPE_CHECKING:
    import keras

    from .workers import Workers


def train(
    data: Prepared | str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: TrainConfig | None = None,
    *,
    on_epoch: Callable[[Epoch], object] | None = None,
    log: Callable[[str], None] = print,
    **options: Any,
) -> Trained:
    """Train on the training split, and keep the weights with the lowest loss on the validation split.

    Called again, it continues an unfinished run after its last finished epoch, with the same result as without the
    interruption, and leaves a finished run as it is. The second call may give another ``max_minutes``, and larger
    ``epochs`` if the recipe's learning rate does not depend on them. If it does, and ``epochs`` is not given,
    ``max_minutes`` sets the number of epochs, estimated from the speed of the first two, so that the learning rate
    has fallen by the end.

    With ``init`` it starts from the weights of a trained network, which needs fewer drawings and epochs: all weights
    if the classes are the same, else all but those of the last layer.

    Args:
        data: a prepared directory; of strokes for any network, of bitmaps for one that takes bitmaps.
        out: the run directory, created if missing.
        config: how to train. Default: ``TrainConfig(**options)``.
        on_epoch: called after each epoch with its metrics, a dict with the keys of ``history.FIGURES``; use it to log
            to MLflow or Weights & Biases. With several workers, only the chief calls it.
        log: called with a line at the beginning, after each epoch and at the end.
        options: the fields of ``TrainConfig``, where ``config`` is not given.

    Returns:
        The run's path, its number of epochs, the best epoch and its figures, and why training stopped.

    Raises:
        DataError: the configuration, its ``init``, ``data`` or ``out`` is invalid; ``out`` is a run of another
            configuration or of other data, or another process trains in it; a worker was called with other arguments
            than the chief.
        TrainingError: the loss is no longer a finite number, or memory ran out.
        WorkerError: another worker has ended. The same call, by all of them, continues after the last finished epoch.

    Example:
        >>> from qdfast.learn.training.train import train
        >>> trained = train("data", "runs/first", model="stroke_conv", max_minutes=10)  # doctest: +SKIP
        >>> trained.figures["val_top1"]  # doctest: +SKIP
        0.93
        >>> train("mine", "runs/mine", init="runs/first").figures["val_top1"]  # doctest: +SKIP
        0.88
    """
    if config is not None and options:
        raise TypeError(f"give a config or options, not both: {', '.join(options)}")
    config = config or TrainConfig(**options)
    out = local_path(out)
    if config.model in BASELINES:
        return fit(data, out, config, log=log)

    # ---- the configuration and the data ----
    settled, prepared, training, validation = check(data, out, config)
    import_keras()
    from ..device import cache_compiled, on_gpu
    from .trainer import Trainer, memory_errors
    from .workers import join

    started = time.monotonic()
    _check_backend()
    workers = join(config.distribute)  # before anything asks for a GPU: JAX cannot join afterwards
    cache_compiled()
    if on_gpu():
        settled = settled.with_one_length()  # compiling another shape would cost more than the padding
    arguments = settled.arguments

    with workers.lost_workers(), memory_errors(), ExitStack() as lock:
        # ---- build, or resume ----
        net = new_network(arguments, len(prepared.classes))
        _check_same_call(workers, settled, prepared)
        with workers.chief_errors():
            run, history = Run(out, _info(settled, prepared, training, validation, net)), []
            if workers.is_chief:
                lock.enter_context(only_writer(out, "training in"))
                run = start_run(out, run.info)
                history = read_history(out)
            if history:
                _restore(net, checkpoint_path(run.path, len(history)))
            elif settled.initial and workers.is_chief:  # the others get the chief's weights before their first step
                log(f"{run.path}: {settled.initial.copy_weights(net, run.classes)}")
        history = workers.broadcast_object(history)
        if workers.is_chief:
            finalize_run(run.path, history)
        else:
            log(f"{run.path}: worker {workers.rank} of {workers.world_size}; the chief logs the progress")
            log = _silent
        log(_headline(run, net, training, validation, history))
        if few := without_drawings(validation):
            log(f"{run.path}: these classes have no validation drawings, so no validation metrics: {', '.join(few)}")

        # ---- train, validate, commit ----
        schedule = Schedule(settled, workers, started)
        trainer = None
        while not (stopped := schedule.reason_to_stop(history)):
            if trainer is None:
                trainer = Trainer(
                    net,
                    settled.recipe,
                    training,
                    validation,
                    run.input_spec,
                    batch=arguments["batch"],
                    seed=config.seed,
                    resident=_resident(config, training, validation, run),
                    workers=workers,
                    on_rate=partial(_log_estimate, log, run, len(training), schedule, history),
                )
                log(f"{run.path}: {trainer.describe()}")
            figures = trainer.epoch(len(history) + 1, schedule.planned(history), schedule.learning_rate(history))
            history = [*history, workers.broadcast_object(schedule.fit_epochs(figures, history))]
            if workers.is_chief:
                _commit(net, run.path, history)
                if on_epoch:
                    on_epoch(dict(history[-1]))
            log(_epoch_line(history, schedule.planned(history)))

    best = history[best_epoch(history) - 1]
    log(
        f"{run.path}: {stopped}; the best is epoch {best['epoch']}, validation top-1 {best['val_top1']:.2%}, "
        f"top-3 {best['val_top3']:.2%}, loss {best['val_loss']:.4f}"
        + (f", temperature {best['temperature']:.3f}" if "temperature" in best else "")
    )
    return Trained(run.path, len(history), best_epoch(history), best, stopped)


def check(
    data: Prepared | str | os.PathLike[str], out: str | os.PathLike[str], config: TrainConfig
) -> tuple[SettledConfig, Prepared, Rows, Rows]:
    """Check what ``train`` gets for a network, without importing Keras. Nothing is written.

    Returns:
        The configuration with its defaults, the opened data, and its training and validation drawings.

    Raises:
        DataError: the configuration, ``data`` or ``out`` is invalid, or ``out`` is another run.
    """
    check_backend()
    initial = None if config.init is None else open_initial(config.init, out)
    settled = config.settle(initial)
    cluster = cluster_for(config.distribute)
    prepared = data if isinstance(data, Prepared) else open_prepared(data, verify=True)
    training, validation = prepared.rows("train"), prepared.rows("validation")
    check_rows(settled.network.takes, prepared, training, validation, settled.arguments["model"])
    if cluster:  # the chief checks ``out`` once all workers have joined, and tells them
        return settled, prepared, training, validation
    settings = {**settled.arguments, "data": prepared.digest, "init": initial.digest if initial else None}
    if config.buckets is None:
        del settings["buckets"]  # the default depends on the device
    path = local_path(out)
    earlier_run(path, settings)
    output(path, RUN)
    return settled, prepared, training, validation


def _silent(line: str) -> None:
    pass


def _check_backend() -> None:
    import keras

    if keras.backend.backend() not in BACKENDS:
        raise DataError(f"Keras runs on {keras.backend.backend()}: KERAS_BACKEND must be {' or '.join(BACKENDS)}")


def _check_same_call(workers: Workers, settled: SettledConfig, prepared: Prepared) -> None:
    call = {**settled.arguments, "epochs": settled.epochs, "max_minutes": settled.config.max_minutes}
    call |= {"data": prepared.digest, "init": settled.initial.digest if settled.initial else None}
    if changed := describe_mismatch(workers.broadcast_object(call), call):
        raise DataError(f"worker {workers.rank}: its arguments differ from the chief's: the chief has {changed}")


def _resident(config: TrainConfig, training: Rows, validation: Rows, run: Run) -> bool:
    from ..device import on_gpu
    from .inputs import RESIDENT, resident_size

    if config.resident is not None:
        return config.resident
    return on_gpu() and resident_size(training, run.input_spec) + resident_size(validation, run.input_spec) <= RESIDENT


# ---- the network and its checkpoints ----


def new_network(arguments: dict[str, Any], classes: int) -> keras.Model:
    """A network with fresh weights and its optimizer; ``arguments`` as of ``SettledConfig``."""
    import keras

    from ..models.networks import build

    with without_stderr():  # Keras imports TensorFlow here, if it is installed, whatever the backend
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
    """Load a checkpoint's weights and optimizer state into a new network."""
    import keras

    check_weights(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras warns if it leaves out an optimizer's state
            saved = keras.saving.load_model(path)
        for ours, theirs in ((net, saved), (net.optimizer, saved.optimizer)):
            for variable, value in zip(ours.variables, theirs.variables, strict=True):
                variable.assign(value)
    except Exception as e:  # Keras lets through whatever zipfile, h5py and its own code raise
        raise DataError(f"{path}: not a checkpoint, or damaged: {first_line(e)}") from e


def _commit(net: keras.Model, path: Path, history: list[Epoch]) -> None:
    """Write an epoch's files; it counts once ``history.json`` names it."""
    with replacing(checkpoint_path(path, len(history))) as temporary:
        net.save(temporary)
    commit(path, history)


# ---- what is said ----


def _info(
    settled: SettledConfig, prepared: Prepared, training: Rows, validation: Rows, net: keras.Model
) -> dict[str, Any]:
    import keras

    backend, size = keras.backend.backend(), net.count_params()
    about = {"parameters": size, "backend": backend, "packages": ("keras", backend)}
    info = run_info(settled.arguments, prepared, training, validation, **about)
    return info | settled.initial.info if settled.initial else info


def _headline(run: Run, net: keras.Model, training: Rows, validation: Rows, history: list[Epoch]) -> str:
    return (
        f"{run.path}: {run.arguments['model']}, {net.count_params():,} parameters, {len(run.classes)} classes, "
        f"{len(training):,} drawings to train on, {len(validation):,} to validate"
        + (f"; finished so far: {counted(len(history), 'epoch')}" if history else "")
    )


def _log_estimate(
    log: Callable[[str], None], run: Run, drawings: int, schedule: Schedule, history: list[Epoch], rate: float
) -> None:
    """Log how long an epoch takes, as estimated from its first steps: ``rate`` drawings per second."""
    seconds = drawings / rate
    line = f"{run.path}: about {duration(seconds)} an epoch or less, and its validation ({rate:,.0f} drawings/s)"
    if schedule.overruns(seconds):
        minutes = schedule.settled.config.max_minutes
        log(f"{line}; that is more than --max-minutes {minutes:g} leaves, but this epoch runs to its end")
    else:
        log(f"{line}; at most {counted(schedule.planned(history), 'epoch')}")


def _epoch_line(history: list[Epoch], epochs: int) -> str:
    f = history[-1]
    return (
        f"epoch {f['epoch']:>{len(str(epochs))}}/{epochs}  loss {f['loss']:.4f}  top-1 {f['top1']:.2%}  "
        f"validation: loss {f['val_loss']:.4f}  top-1 {f['val_top1']:.2%}  top-3 {f['val_top3']:.2%}  "
        f"learning rate {f['learning_rate']:.2g}  {duration(f['seconds'])}  {f['drawings_per_s']:,.0f} drawings/s"
        + ("  *" if best_epoch(history) == len(history) else "")
    )
