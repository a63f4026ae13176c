"""The argument parser of the `qdfast` command: every command's options, units, defaults and help text."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from ..parse_report import MAX_REJECTS
from ..storage.names import (
    CONVERT_FORMATS,
    DISTRIBUTE,
    EXPORT_FORMATS,
    LABELS,
    ONE_WAY_FORMATS,
    PRECISIONS,
    QUANTIZATIONS,
    RECIPE_NAMES,
    RECOGNIZED,
    Split,
)
from .parser import (
    SHELLS,
    HelpFormatter,
    Parser,
    PrintCompletion,
    ShowVersion,
    model_version,
    name_and_value,
    non_negative_float,
    non_negative_int,
    path_on_disk,
    path_or_url,
    positive_float,
    positive_int,
    utf8_text,
)

_DRAWING_FILES = (
    "a file of drawings (ndjson, JSON, CSV, Google's .bin, sketch-rnn's .npz, Parquet, .npy bitmaps, pictures; also "
    "compressed or in a zip or tar archive), or a directory of them"
)
_ANY_DRAWINGS = f"{_DRAWING_FILES}, or a prepared directory"


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    top = Parser(
        "qdfast",
        description="Train and serve classifiers of stroke drawings, such as Google's Quick, Draw! files.",
        epilog="Run `qdfast COMMAND --help` for the options of a command. Results go to standard output, log lines and "
        "errors to standard error. Exit status: 0 success, 1 error, 2 wrong usage, 130 interrupted.",
        allow_abbrev=False,  # else `--k` could mean `--key`
    )
    top.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    top.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help=f"print a script that completes commands and options in a shell ({', '.join(SHELLS)}), and exit",
    )
    commands = top.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, summary, example, add_arguments in _COMMANDS:
        add_arguments(
            commands.add_parser(
                name,
                help=summary[0].lower() + summary[1:].rstrip("."),
                description=summary,
                epilog=f"Example: qdfast {name} {example}",
                formatter_class=HelpFormatter,
                allow_abbrev=False,
            )
        )
    return top


def _add_out(
    p: argparse.ArgumentParser, help_: str, metavar: str = "DIR", type_: Callable[[str], Any] = path_on_disk
) -> None:
    p.add_argument("--out", required=True, type=type_, metavar=metavar, help=help_)


def _add_sources(
    p: argparse.ArgumentParser, help_: str, *, recognized: str, type_: Callable[[str], Any] = path_on_disk
) -> None:
    p.add_argument("sources", nargs="+", type=type_, metavar="SRC", help=help_)
    p.add_argument(
        "--recognized",
        choices=RECOGNIZED,
        default=recognized,
        help="'only' keeps the drawings that Google's game recognized, 'any' keeps all",
    )
    _add_raw(p)


def _add_raw(p: argparse.ArgumentParser) -> None:
    p.add_argument("--raw", action="store_true", help="simplify the strokes first; use it for Google's raw files")


def _add_max_rejects(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--max-rejects",
        type=float,
        default=MAX_REJECTS,
        metavar="SHARE",
        help="refuse a file with a larger share of lines that cannot be read; unrecognized drawings do not count",
    )


def _add_label(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--label",
        choices=LABELS,
        default="file",
        help="take the class from the file's name or from each line's `word`",
    )


def _add_listen(p: argparse._ActionsContainer, port: int) -> None:
    p.add_argument("--host", default="127.0.0.1", help="address to listen on")
    p.add_argument("--port", type=non_negative_int, default=port, help="port to listen on; 0 picks a free one")


def _add_json(p: argparse.ArgumentParser, help_: str) -> None:
    p.add_argument("--json", action="store_true", help=help_)


def _download(p: argparse.ArgumentParser) -> None:
    p.add_argument("classes", nargs="*", metavar="CLASS", help='classes to download, such as cat "ice cream"')
    p.add_argument("--all", action="store_true", help="download all 345 classes (23 GB)")
    _add_out(p, "directory to write the files to")
    p.add_argument("--base-url", metavar="URL", help="a mirror of Google's directory of .ndjson files")
    p.add_argument("--jobs", type=positive_int, default=4, metavar="N", help="number of files to download at once")
    p.add_argument(
        "--retries", type=non_negative_int, default=5, metavar="N", help="give up after N failed attempts in a row"
    )


def _doodles(p: argparse.ArgumentParser) -> None:
    p.add_argument("classes", nargs="*", metavar="CLASS", help="classes to draw (default: all)")
    _add_out(p, "directory to write the files to")
    p.add_argument("--per-class", type=non_negative_int, default=500, metavar="N", help="drawings per class")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="random seed")


def _prepare(p: argparse.ArgumentParser) -> None:
    _add_sources(p, _DRAWING_FILES, recognized="only", type_=path_or_url)
    _add_label(p)
    _add_out(p, "directory to write the prepared data to", type_=path_or_url)
    p.add_argument(
        "--validation", type=float, default=0.1, metavar="SHARE", help="share of the drawings in the validation split"
    )
    p.add_argument(
        "--keep-split",
        action="store_true",
        help="keep the split of sketch-rnn's .npz files: train for training, valid for validation; test is left out",
    )
    _add_max_rejects(p)
    p.add_argument("--threads", type=positive_int, metavar="N", help="parsing threads (default: one per core)")
    g = p.add_argument_group("Apache Beam")
    g.add_argument(
        "--runner",
        choices=("local", "beam"),
        default="local",
        help="'local' uses threads on this machine; 'beam' runs an Apache Beam pipeline, and SRC and DIR may be URLs",
    )
    g.add_argument(
        "--beam-arg",
        action="append",
        default=[],
        metavar="ARG",
        help="an option to pass to Beam, such as --beam-arg=--runner=FlinkRunner; may be repeated",
    )


def _convert(p: argparse.ArgumentParser) -> None:
    p.add_argument("data", type=path_on_disk, metavar="DATA", help="a prepared or converted directory")
    _add_out(p, "directory to write to; there is one file per shard and split")
    p.add_argument(
        "--format",
        required=True,
        choices=(*CONVERT_FORMATS, *ONE_WAY_FORMATS),
        help="parquet and arrow can be loaded with Hugging Face datasets; ndjson and bin are formats of Google's "
        "files; sketch-rnn is its .npz format; tfrecord-rnn is for TensorFlow's tutorial on drawings",
    )


def _models(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--classes", type=positive_int, default=345, metavar="N", help="count the parameters for this many classes"
    )
    _add_json(p, "print a JSON object with an entry for each model")


def _train(p: argparse.ArgumentParser) -> None:
    p.add_argument("data", type=path_on_disk, metavar="DATA", help="a prepared directory")
    _add_out(p, "run directory: checkpoints, logs and the best weights", metavar="RUN")
    p.add_argument(
        "--model",
        metavar="NAME",
        help="model to train; `qdfast models` lists them (default: that of --init, else stroke_conv)",
    )
    p.add_argument(
        "--init",
        type=path_on_disk,
        metavar="RUN",
        help="start from the network of this run directory instead of random weights, which suits few drawings; its "
        "classes may be others",
    )
    p.add_argument(
        "--seed", type=int, default=42, metavar="N", help="random seed of initial weights, dropout and drawing order"
    )
    g = p.add_argument_group("network")
    g.add_argument(
        "--max-len", type=positive_int, metavar="N", help="truncate drawings to N points (default: the model's)"
    )
    g.add_argument(
        "--buckets",
        type=positive_int,
        nargs="*",
        metavar="N",
        help="shorter lengths, in points, that batches may be padded to (default: the model's; on a GPU none)",
    )
    g.add_argument(
        "--recurrent-dropout",
        type=float,
        default=0.0,
        metavar="P",
        help="recurrent dropout rate of the LSTMs; above 0, cuDNN cannot be used",
    )
    g = p.add_argument_group("optimization")
    g.add_argument("--recipe", choices=RECIPE_NAMES, help="set of training defaults (default: the model's)")
    g.add_argument("--epochs", type=positive_int, metavar="N", help="maximum number of epochs (default: the recipe's)")
    g.add_argument(
        "--max-minutes",
        type=positive_float,
        metavar="M",
        help="time limit in minutes: do not start an epoch that would end later (default: none). The first epoch of a "
        "call always runs to its end; an estimate of its time is printed within 20 seconds of training. "
        "Without --epochs, the strong recipe plans as many epochs as fit",
    )
    g.add_argument("--batch", type=positive_int, metavar="N", help="drawings per step (default: the recipe's)")
    g.add_argument(
        "--learning-rate",
        type=float,
        metavar="R",
        help="initial (notebook) or peak (strong) learning rate (default: the recipe's)",
    )
    g.add_argument(
        "--patience",
        type=positive_int,
        metavar="N",
        help="stop after N epochs without a lower validation loss; notebook recipe only (default: the recipe's)",
    )
    g = p.add_argument_group("hardware")
    g.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="floating-point precision of the computation"
    )
    g.add_argument(
        "--resident",
        action=argparse.BooleanOptionalAction,
        help="keep all drawings in the device's memory (default: on a GPU, if they take at most 8 GiB)",
    )
    g.add_argument(
        "--distribute",
        choices=DISTRIBUTE,
        default="auto",
        help="split each step across all devices of this host (mirrored) or across the workers in TF_CONFIG "
        "(multiworker); auto uses TF_CONFIG if it names several workers, else the devices of this host",
    )


def _evaluate(p: argparse.ArgumentParser) -> None:
    p.add_argument("run_dir", type=path_on_disk, metavar="RUN", help="run directory of the model to evaluate")
    _add_sources(p, f"{_ANY_DRAWINGS}; or another run directory, to compare with RUN", recognized="only")
    _add_label(p)
    _add_max_rejects(p)
    _add_out(p, "directory to write the report to")
    p.add_argument(
        "--split",
        choices=("auto", *get_args(Split)),
        default="auto",
        help="split of prepared directories to use; auto means the validation split of the data that the model was "
        "trained on, and all drawings of other data",
    )
    _add_json(p, "print the content of metrics.json instead of a table")


def _export(p: argparse.ArgumentParser) -> None:
    p.add_argument("run_dir", type=path_on_disk, metavar="RUN", help="run directory of the network to export")
    _add_out(p, "model directory; its name becomes the model's name", metavar="MODEL_DIR")
    p.add_argument(
        "--top-k", type=positive_int, default=10, metavar="K", help="maximum number of labels per answer (SavedModel)"
    )
    p.add_argument(
        "--format",
        choices=EXPORT_FORMATS,
        default="savedmodel",
        help="'savedmodel' for `qdfast serve` and TensorFlow Serving; 'onnx' for `qdfast predict` and `play` without "
        "TensorFlow; 'litert' for phones; 'openvino' for Intel's runtime",
    )
    p.add_argument(
        "--quantize",
        choices=QUANTIZATIONS,
        help="store the weights of these formats in 1 or 2 bytes instead of 4; not for 'savedmodel'",
    )


def _serve(p: argparse.ArgumentParser) -> None:
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "model_dir", nargs="?", type=path_on_disk, metavar="MODEL_DIR", help="directory with numbered versions"
    )
    what.add_argument(
        "--models",
        type=path_on_disk,
        metavar="FILE",
        help="ModelServerConfig file: several models, version policies, version labels",
    )
    p.add_argument("--name", type=utf8_text, metavar="NAME", help="name of the model (default: the directory's name)")
    p.add_argument(
        "--embedded",
        action="store_true",
        default=None,
        help="use the embedded server even if tensorflow_model_server is on the PATH",
    )
    p.add_argument(
        "--poll-seconds",
        type=positive_float,
        default=1.0,
        metavar="S",
        help="look for new versions every S seconds",
    )
    p.add_argument(
        "--grace",
        type=non_negative_float,
        default=10.0,
        metavar="S",
        help="on SIGTERM, wait up to S seconds for open requests to finish",
    )
    g = p.add_argument_group("network")
    _add_listen(g, 8500)
    g.add_argument(
        "--metrics-port",
        type=positive_int,
        metavar="N",
        help="serve Prometheus metrics on this HTTP port, at /monitoring/prometheus/metrics (default: no metrics)",
    )
    g.add_argument(
        "--rest-port",
        type=positive_int,
        metavar="N",
        help="serve TensorFlow Serving's REST API on this HTTP port, usually 8501 (default: no REST API)",
    )
    g.add_argument(
        "--allow-reload",
        action="append",
        default=[],
        type=path_on_disk,
        metavar="ROOT",
        help="let clients load models below ROOT and unload others, by HandleReloadConfigRequest (embedded server; may "
        "be given several times; default: reject these requests)",
    )
    g = p.add_argument_group("batching").add_mutually_exclusive_group()
    g.add_argument("--batching", type=path_on_disk, metavar="FILE", help="BatchingParameters file, for all models")
    g.add_argument(
        "--no-batching", dest="batching", action="store_false", default=None, help="run every request on its own"
    )
    g = p.add_argument_group("TLS")
    g.add_argument("--tls-cert", type=path_on_disk, metavar="FILE", help="server certificate (PEM); turns TLS on")
    g.add_argument("--tls-key", type=path_on_disk, metavar="FILE", help="private key of the server certificate (PEM)")
    g.add_argument(
        "--tls-client-ca",
        type=path_on_disk,
        metavar="FILE",
        help="require client certificates that this authority has signed (PEM)",
    )


def _predict(p: argparse.ArgumentParser) -> None:
    _add_sources(p, f"{_ANY_DRAWINGS}; - reads standard input", recognized="any", type_=utf8_text)
    p.add_argument("-k", "--k", type=positive_int, default=3, metavar="K", help="labels per drawing")
    g = p.add_argument_group("model")
    where = g.add_mutually_exclusive_group()
    where.add_argument(
        "--target",
        default="127.0.0.1:8500",
        metavar="HOST:PORT[,…]",
        help="gRPC address of the server; several addresses get requests in turn",
    )
    where.add_argument(
        "--model-dir",
        type=path_on_disk,
        metavar="DIR",
        help="load the exported model in DIR instead of asking a server; an ONNX file, also by its own name, runs "
        "without TensorFlow",
    )
    g.add_argument("--model", type=utf8_text, metavar="NAME", help="name of the model on the server (default: doodles)")
    g.add_argument(
        "--version", type=model_version, metavar="V", help="number or label of the model version (default: the newest)"
    )
    g = p.add_argument_group("connection to the server")
    g.add_argument(
        "--timeout", type=positive_float, default=10.0, metavar="S", help="deadline of a request, in seconds"
    )
    g.add_argument(
        "--wait",
        type=non_negative_float,
        default=10.0,
        metavar="S",
        help="wait up to S seconds for the server to be ready",
    )
    g.add_argument("--tls", action="store_true", help="use TLS; --ca, --certificate and --key imply it")
    g.add_argument("--ca", type=Path, metavar="FILE", help="trust these authorities (PEM) instead of the system's")
    g.add_argument("--certificate", type=Path, metavar="FILE", help="client certificate (PEM), for mutual TLS")
    g.add_argument("--key", type=Path, metavar="FILE", help="private key of the client certificate (PEM)")
    g.add_argument(
        "--metadata",
        type=name_and_value,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="send this with every request, such as a token; may be repeated",
    )


def _play(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("model")
    g.add_argument(
        "--target", metavar="HOST:PORT", help="use this gRPC server (default: start the embedded server on MODEL_DIR)"
    )
    g.add_argument(
        "--model-dir",
        type=path_on_disk,
        metavar="MODEL_DIR",
        help="model directory to serve, or an ONNX file, which runs without a server (default: the newest export under "
        "the current directory)",
    )
    g.add_argument(
        "--model",
        type=utf8_text,
        metavar="NAME",
        help="name of the model (default: MODEL_DIR's name; with --target, doodles)",
    )
    p.add_argument(
        "--data",
        nargs="+",
        type=path_on_disk,
        metavar="SRC",
        help="drawings to show after a round: .ndjson files, directories of them, or a prepared directory "
        "(default: procedural doodles)",
    )
    _add_listen(p, 8000)


def _info(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "paths",
        nargs="*",
        type=path_on_disk,
        metavar="PATH",
        help="file or directory (default: describe this installation)",
    )
    _add_raw(p)
    p.add_argument(
        "--verify",
        action="store_true",
        help="read all files of prepared data, runs and models, and compare them with the digests that were recorded",
    )
    _add_json(p, "print a JSON object for each path, on a line of its own")
    g = p.add_argument_group("gallery")
    g.add_argument(
        "--gallery", type=path_on_disk, metavar="FILE", help="draw a sample of the drawings to a .svg or .png file"
    )
    g.add_argument(
        "--count", type=positive_int, default=40, metavar="N", help="number of drawings, spread evenly over the data"
    )
    g.add_argument("--columns", type=positive_int, default=8, metavar="N", help="drawings per row")


_COMMANDS: tuple[tuple[str, str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    ("download", "Download Google's simplified drawings (about 60 MB per class).", "cat dog --out drawings", _download),
    ("doodles", "Write procedural doodles in the format of Google's files.", "--out drawings", _doodles),
    (
        "prepare",
        "Turn drawings into training data: columns, train/validation split, statistics.",
        "drawings --out data",
        _prepare,
    ),
    (
        "convert",
        "Convert prepared data to Parquet, Arrow, TFRecord, ndjson or the formats of others.",
        "data --out parquet --format parquet",
        _convert,
    ),
    ("models", "List the networks and scikit-learn baselines that `train` can use.", "--classes 20", _models),
    (
        "train",
        "Train a classifier; repeat the same command to resume an interrupted run.",
        "data --out runs/first",
        _train,
    ),
    (
        "evaluate",
        "Evaluate trained models on drawings: writes report.html and metrics.json.",
        "runs/first data --out report",
        _evaluate,
    ),
    (
        "export",
        "Export a trained network as the next version of a model.",
        "runs/first --out models/animals",
        _export,
    ),
    (
        "serve",
        "Serve a model over gRPC (TensorFlow Serving's API) until interrupted.",
        "models/animals --port 8500",
        _serve,
    ),
    (
        "predict",
        "Classify drawings with a served or exported model; writes ndjson.",
        "drawings/cat.ndjson --model animals",
        _predict,
    ),
    (
        "play",
        "Serve a web page where you draw and the model guesses.",
        "--model-dir models/animals --data data",
        _play,
    ),
    (
        "info",
        "Describe files and directories: drawings, prepared data, runs, reports, models.",
        "data runs/first drawings/cat.ndjson",
        _info,
    ),
)
