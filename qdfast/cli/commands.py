"""The commands of `qdfast COMMAND …`. Each imports what it needs when it runs.

Results go to stdout, log lines and errors to stderr. Exit status: 0 success, 1 error (reported in one line), 2 wrong
usage, 130 interrupted, 141 stdout was closed by its reader.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import IO, Any

import orjson

from .._hints import MODULES, MissingPackage, needs
from .._printable import printable
from .._quiet import import_quietly, minimal_imports
from ..errors import DataError, Error
from ..learn.backend import check_backend, import_keras
from ..learn.backend import extras as backend_extras
from ..storage.files import naming
from ..storage.progress import counted
from .arguments import parser

STDOUT = Path("<stdout>")  # in an error


def log(line: str) -> None:
    """Print a line to stderr and flush it."""
    print(printable(line), file=sys.stderr, flush=True)


def show(line: object) -> None:
    """Print a line of the result to stdout and flush it."""
    show_text(printable(str(line)))


def show_text(text: str) -> None:
    """Print printable lines to stdout and flush them."""
    with naming(STDOUT):
        print(text, flush=True)


def show_json(value: Any) -> None:
    """Print JSON on one line, with escapes for what a terminal would obey."""
    # orjson makes null of nan, and json escapes all that is not ASCII.
    show_text(json.dumps(orjson.loads(orjson.dumps(value))).replace("\x7f", r"\u007f"))


# ---- commands ----


def _download(a: argparse.Namespace) -> None:
    from ..quickdraw.download import DEFAULT_URL, download

    if not a.classes and not a.all:
        raise DataError("name the classes to download, or use --all")
    if a.classes and a.all:
        raise DataError("name classes or use --all, not both")
    base_url = a.base_url or DEFAULT_URL
    for path in download(a.classes, a.out, all_classes=a.all, base_url=base_url, jobs=a.jobs, retries=a.retries):
        show(path)


def _doodles(a: argparse.Namespace) -> None:
    from ..quickdraw.doodles import write_doodles

    for path in write_doodles(a.out, classes=a.classes or None, per_class=a.per_class, seed=a.seed):
        show(path)


def _prepare(a: argparse.Namespace) -> None:
    from ..storage.names import SPLITS

    options: dict[str, Any] = {
        "recognized": a.recognized, "label": a.label, "validation": a.validation,
        "keep_split": a.keep_split, "raw": a.raw, "max_rejects": a.max_rejects, "log": log,
    }  # fmt: skip
    if a.runner == "beam":
        if a.threads:
            raise DataError("--threads works with --runner local only; set the number of Beam workers with --beam-arg")
        with needs("beam"):
            import_quietly("apache_beam")
        from ..dataset import beam

        manifest = beam.prepare(a.sources, a.out, beam_args=a.beam_arg, **options)
    else:
        from ..dataset.prepare import prepare

        if a.beam_arg:
            raise DataError("--beam-arg requires --runner beam")
        manifest = prepare(a.sources, a.out, threads=a.threads, **options).manifest
    classes = manifest["classes"].values()
    train, validation = (sum(of[split]["drawings"] for of in classes) for split in SPLITS)
    show(f"{a.out}: {train:,} + {validation:,} drawings (training + validation) in {counted(len(classes), 'class')}")


def _convert(a: argparse.Namespace) -> None:
    from ..dataset.convert import convert

    convert(a.data, a.out, format=a.format, log=show)


def _models(a: argparse.Namespace) -> None:
    from ..learn.models.model_table import model_facts, model_table

    show_json(model_facts(a.classes)) if a.json else show_text(model_table(a.classes))


def _train(a: argparse.Namespace) -> None:
    from ..learn.models.baselines import BASELINES
    from ..learn.training.config import TrainConfig
    from ..learn.training.train import check, train

    config = TrainConfig(**{field.name: getattr(a, field.name) for field in fields(TrainConfig)})
    data = a.data
    if a.model not in BASELINES:
        _, data, _, _ = check(data, a.out, config)
        import_keras()
        from ..learn.training.local_workers import on_workers, processes_wanted

        if count := processes_wanted(a.distribute):
            a.distribute = "multiworker"
            return on_workers(partial(_run, a), count)
    train(data, a.out, config, log=show)


def _evaluate(a: argparse.Namespace) -> None:
    from ..dataset.sources import load_rows
    from ..learn.evaluation.evaluate import evaluate
    from ..learn.evaluation.table import format_table
    from ..learn.training.runs import load_run
    from ..storage.directories import REPORT, output
    from ..storage.names import RUN

    output(a.out, REPORT)  # fails early if the report cannot be written there
    more_runs = [path for path in a.sources if (path / RUN).exists()]
    sources = [path for path in a.sources if path not in more_runs]
    runs = [load_run(path) for path in (a.run_dir, *more_runs)]
    if not sources:
        raise DataError(f"no drawings to evaluate on: every SRC is a run directory: {', '.join(map(str, more_runs))}")
    if not all(run.baseline for run in runs):
        check_backend()
    rows = load_rows(
        sources,
        recognized=a.recognized,
        label=a.label,
        raw=a.raw,
        max_rejects=a.max_rejects,
        split=a.split,
        trained_on=[data for run in runs for data in run.trained_on],
        log=log,
    )
    metrics = evaluate(runs, rows, a.out, source=", ".join(map(str, sources)))
    show_json(metrics) if a.json else show_text(format_table(metrics))
    log(f"full report: {a.out / 'report.html'}")


def _export(a: argparse.Namespace) -> None:
    from ..learn.export.export import export

    show(export(a.run_dir, a.out, top_k=a.top_k, format=a.format, quantize=a.quantize))


def _serve(a: argparse.Namespace) -> None:
    from ..serve import ServeOptions, serve

    serve(
        ServeOptions(
            model_dir=a.model_dir,
            models=a.models,
            name=a.name,
            host=a.host,
            port=a.port,
            embedded=a.embedded,
            grace=a.grace,
            poll_seconds=a.poll_seconds,
            batching=a.batching,
            metrics_port=a.metrics_port,
            rest_port=a.rest_port,
            allow_reload=tuple(a.allow_reload),
            tls_cert=a.tls_cert,
            tls_key=a.tls_key,
            tls_client_ca=a.tls_client_ca,
        )
    )


def _predict(a: argparse.Namespace) -> None:
    from ..dataset.sources import resolve
    from ..parse_report import explain
    from .predict import open_model, predict

    sources: list[Any] = [_stdin() if s == "-" else s for s in a.sources]
    sources = list(resolve(sources, log))  # reports a missing file before loading a model or waiting for a server
    with open_model(a) as model:
        report = predict(sources, sys.stdout.buffer, model, k=a.k, recognized=a.recognized, raw=a.raw)
    log(explain(report))
    if not report.kept:
        raise DataError("no drawings to classify")


def _play(a: argparse.Namespace) -> None:
    from ..play import play

    play(target=a.target, model=a.model, model_dir=a.model_dir, data=a.data or (), host=a.host, port=a.port, log=log)


def _info(a: argparse.Namespace) -> None:
    from .info import description, installation

    if a.gallery:
        from ..dataset.gallery import gallery

        if not a.paths:
            raise DataError("--gallery needs at least one PATH")
        shown, of = gallery(a.paths, a.gallery, count=a.count, columns=a.columns, raw=a.raw)
        log(f"{a.gallery}: shows {shown:,} of {counted(of, 'drawing')}")
    if not a.paths:
        found = installation()
        show_json(found.facts) if a.json else show_text(found.text)
    for i, path in enumerate(a.paths):
        found = description(path, raw=a.raw, verify=a.verify)
        show_json(found.facts) if a.json else show_text("\n" * bool(i) + found.text)


def _stdin() -> IO[bytes]:
    if sys.stdin is None:
        raise DataError("standard input is closed")
    return sys.stdin.buffer


COMMANDS = {
    "download": _download,
    "doodles": _doodles,
    "prepare": _prepare,
    "convert": _convert,
    "models": _models,
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
    "serve": _serve,
    "predict": _predict,
    "play": _play,
    "info": _info,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status.

    Args:
        arguments: of the command line, without the program's name; default: ``sys.argv[1:]``.
    """
    if sys.stderr is None:  # the parent process has closed it
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        a = parser().parse_args(arguments)
        if sys.stdout is None:
            log(f"qdfast {a.command}: error: standard output is closed")
            return 1
        return _run(a)
    except KeyboardInterrupt:  # before the command starts
        log("qdfast: interrupted")
        return 130


def _extras(a: argparse.Namespace) -> tuple[str, ...]:
    """The extras of qdfast that the command needs, whichever package turns out to be missing."""
    from ..storage.versions import is_onnx

    match a.command:
        case "train" | "evaluate":
            return backend_extras()
        case "export":
            return ("train", *((a.format,) if a.format in MODULES else ()))
        case "serve":
            return ("serve",)
        case "predict":
            return ("client",) if a.model_dir is None else ("local",) if is_onnx(a.model_dir) else ("serve",)
        case "play":
            local = a.target is not None or (a.model_dir is not None and is_onnx(a.model_dir))
            return ("play",) if local else ("play", "serve")
    return ()


def _run(a: argparse.Namespace) -> int:
    """Run the command in ``a``, report its errors, and return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names that are not UTF-8 must not stop the output
    try:
        with _printable_logs(), minimal_imports(), needs(*_extras(a)):
            COMMANDS[a.command](a)
    except BrokenPipeError:  # such as `qdfast … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        log(f"qdfast {a.command}: interrupted")
        return 130
    except (Error, OSError, MissingPackage) as e:
        log(f"qdfast {a.command}: error: {_one_line(e)}")
        return 1
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return str(error)


class _LogFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


@contextmanager
def _printable_logs() -> Iterator[None]:
    """Write what the server logs to stderr, one line an entry."""
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter())
    loggers = [logging.getLogger(name) for name in ("qdfast", "uvicorn.error")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
