"""The arguments of `qdfast COMMAND …`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import DataError
from ..storage.files import local_path
from .target import add_target

_HIGHEST = 2**31


def _checked(kind: type, low: float) -> Callable[[str], Any]:
    """An argparse type: a number from ``low`` to 2^31."""

    def check(text: str) -> Any:
        value = kind(text)
        if not low <= value <= _HIGHEST:  # also not nan
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {_HIGHEST}")
        return value

    check.__name__ = kind.__name__  # for argparse's own message
    return check


_count = _checked(int, 1)
_whole = _checked(int, 0)
_seconds = _checked(float, 1e-3)
_wait = _checked(float, 0)


def _text(text: str) -> str:
    """An argparse type: what can be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from None
    return text


def _version(text: str) -> int | str:
    """An argparse type: a version's number, or else its label."""
    return int(text) if text.isascii() and text.isdigit() else _text(text)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says the defaults that there are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def _place(text: str) -> str:
    """An argparse type, of a path or URL: not "", which would be the current directory; an unset variable gives it."""
    if not text:
        raise argparse.ArgumentTypeError("empty path")
    return _text(text)


def _path(text: str) -> Path:
    """An argparse type: a path of this machine."""
    try:
        return local_path(_place(text))
    except DataError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _sources(p: argparse.ArgumentParser, recognized: str, help_: str, source: Callable[[str], Any] = _path) -> None:
    p.add_argument("sources", nargs="+", type=source, metavar="SRC", help=help_)
    p.add_argument(
        "--recognized",
        choices=("only", "any"),
        default=recognized,
        help="keep drawings that Google's game recognized, or any (default: %(default)s)",
    )
    _raw(p)


def _raw(p: argparse.ArgumentParser) -> None:
    p.add_argument("--raw", action="store_true", help="the strokes are raw, as in Google's raw files: simplify them")


def _label(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--label", choices=("file", "word"), default="file", help="the class: the file's name or each line's `word`"
    )


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    # Without abbreviations: `--k` would be `--key`.
    top = argparse.ArgumentParser(
        "qdfast", description="From Quick, Draw! drawings to a served model.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"qdfast {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help_, description=help_, formatter_class=_Help, allow_abbrev=False)

    p = command("download", "fetch Google's simplified drawings (about 60 MB a class)")
    p.add_argument("classes", nargs="*", metavar="CLASS", help='class names, such as cat "ice cream"')
    p.add_argument("--all", action="store_true", help="all 345 classes (23 GB)")
    p.add_argument("--out", required=True, type=_path, metavar="DIR", help="directory for the files")
    p.add_argument("--base-url", metavar="URL", help="a mirror of Google's directory of .ndjson files")
    p.add_argument("--jobs", type=_count, default=4, metavar="N", help="files fetched at once")
    p.add_argument("--retries", type=_whole, default=5, metavar="N", help="attempts in a row that may fail")

    p = command("doodles", "write procedural doodles in the form of Google's files")
    p.add_argument("classes", nargs="*", metavar="CLASS", help="some of the classes there are; none: all")
    p.add_argument("--out", required=True, type=_path, metavar="DIR", help="directory for the files")
    p.add_argument("--per-class", type=_whole, default=500, metavar="N", help="drawings per class")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="other drawings with another seed")

    p = command("prepare", "drawings to training data: columns, split, statistics")
    files = ".ndjson or .ndjson.gz file, or .npy file of bitmaps, or directory of them"
    either = f"{files}, or prepared directory"
    _sources(p, "only", files, _place)
    _label(p)
    p.add_argument("--out", required=True, type=_place, metavar="DIR", help="directory for the prepared data")
    p.add_argument("--validation", type=float, default=0.1, metavar="SHARE", help="share of the validation split")
    p.add_argument("--threads", type=_count, metavar="N", help="parsing threads; not given: one per core")
    p.add_argument("--runner", choices=("local", "beam"), default="local", help="Beam: SRC and DIR may be URLs")
    p.add_argument(
        "--beam-arg",
        action="append",
        default=[],
        metavar="ARG",
        help="an option for Beam: --beam-arg=--runner=FlinkRunner",
    )

    p = command("convert", "prepared drawings in a format that others read")
    p.add_argument("data", type=_path, metavar="DATA", help="a prepared directory, or a converted one")
    p.add_argument(
        "--out", required=True, type=_path, metavar="DIR", help="directory for the files, one a shard and split"
    )
    p.add_argument(
        "--format",
        required=True,
        choices=("parquet", "arrow", "tfrecord", "ndjson"),
        help="Parquet or Arrow (which Hugging Face's datasets reads), TFRecord, or Google's lines",
    )

    p = command("models", "list what `train --model` takes: networks, and scikit-learn's classifiers")
    p.add_argument("--classes", type=_count, default=345, metavar="N", help="of which the parameters are counted")

    p = command("train", "train a classifier; the same command continues a run that was killed")
    p.add_argument("data", type=_path, metavar="DATA", help="a prepared directory")
    p.add_argument("--out", required=True, type=_path, metavar="RUN", help="run directory")
    p.add_argument("--model", default="stroke_conv", metavar="NAME", help="which one; `qdfast models` lists them")
    p.add_argument("--seed", type=int, default=42, metavar="N", help="of weights, dropout and order")
    g = p.add_argument_group("network")
    g.add_argument("--max-len", type=_count, metavar="N", help="points after which a drawing is cut")
    g.add_argument(
        "--buckets",
        type=_count,
        nargs="*",
        metavar="N",
        help="shorter lengths that batches are padded to (default: the model's; on a GPU none)",
    )
    g.add_argument("--recurrent-dropout", type=float, default=0.0, metavar="P", help="in the LSTMs; disables cuDNN")
    g = p.add_argument_group("optimization of a network")
    g.add_argument("--recipe", choices=("notebook", "strong"), help="not given: the model's")
    g.add_argument("--epochs", type=_count, metavar="N", help="at most so many; not given: the recipe's")
    g.add_argument("--batch", type=_count, metavar="N", help="drawings a step")
    g.add_argument("--learning-rate", type=float, metavar="R", help="the first, or the highest")
    g.add_argument("--patience", type=_count, metavar="N", help="epochs without improvement to stop after (notebook)")
    g.add_argument("--precision", choices=("float32", "mixed_float16", "mixed_bfloat16"), default="float32")
    g.add_argument(
        "--max-minutes",
        type=_seconds,
        metavar="M",
        help="begin no epoch that would end later; the strong recipe plans as many as fit, unless --epochs is given",
    )
    g.add_argument(
        "--resident",
        action=argparse.BooleanOptionalAction,
        help="keep the drawings on the device, which then gathers and pads them; not given: if it is a GPU",
    )

    g.add_argument(
        "--distribute",
        choices=("auto", "mirrored", "multiworker", "none"),
        default="auto",
        help="share every step: with the workers in TF_CONFIG (multiworker), with all devices of this host (mirrored)",
    )

    p = command("evaluate", "judge what was trained by drawings: a page to look at, and metrics.json")
    p.add_argument("run_dir", type=_path, metavar="RUN", help="run directory")
    _sources(p, "only", f"{either}; a run directory: is compared with RUN")
    _label(p)
    p.add_argument("--out", required=True, type=_path, metavar="DIR", help="directory for the report")
    p.add_argument(
        "--split",
        choices=("auto", "train", "validation", "all"),
        default="auto",
        help="of prepared directories; auto: validation of the one trained on, all of others",
    )

    p = command("export", "write a trained network as the next version of a SavedModel")
    p.add_argument("run_dir", type=_path, metavar="RUN", help="run directory")
    p.add_argument(
        "--out", required=True, type=_path, metavar="MODEL_DIR", help="model directory; the model is named as it"
    )
    p.add_argument("--top-k", type=_count, default=10, metavar="K", help="labels an answer may have")

    p = command("serve", "serve a model over gRPC (TensorFlow Serving's API) until interrupted")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("model_dir", nargs="?", type=_path, metavar="MODEL_DIR", help="directory with numbered versions")
    what.add_argument("--models", type=_path, metavar="FILE", help="models, policies, labels: a ModelServerConfig")
    p.add_argument("--name", type=_text, metavar="NAME", help="the model's name; not given: the directory's")
    p.add_argument("--host", default="127.0.0.1", help="address to listen on")
    p.add_argument("--port", type=_whole, default=8500, help="port to listen on; 0: any free one")
    p.add_argument("--embedded", action="store_true", default=None, help="even if there is a tensorflow_model_server")
    p.add_argument("--grace", type=_wait, default=10.0, metavar="S", help="seconds for requests under way when stopped")
    p.add_argument("--poll-seconds", type=_seconds, default=1.0, metavar="S", help="how often versions are looked for")
    batching = p.add_mutually_exclusive_group()
    batching.add_argument("--batching", type=_path, metavar="FILE", help="BatchingParameters; not given: our own")
    batching.add_argument("--no-batching", dest="batching", action="store_false", default=None, help="no batches")
    p.add_argument("--metrics-port", type=_count, metavar="N", help="Prometheus, at /monitoring/prometheus/metrics")
    p.add_argument("--tls-cert", type=_path, metavar="FILE", help="the server's certificate (PEM): listen with TLS")
    p.add_argument("--tls-key", type=_path, metavar="FILE", help="its key (PEM)")
    p.add_argument("--tls-client-ca", type=_path, metavar="FILE", help="whose certificates clients must have (PEM)")

    p = command("predict", "ask a model, served or exported, about drawings; answers as ndjson")
    _sources(p, "any", f"{either}; - for standard input", _text)
    instead = add_target(p)
    instead.add_argument("--model-dir", type=_path, metavar="DIR", help="an exported model, loaded here: no server")
    p.add_argument("--model", type=_text, metavar="NAME", help="its name on the server; not given: doodles")
    p.add_argument("--version", type=_version, metavar="V", help="a version's number or label; not given: the newest")
    p.add_argument("-k", "--k", type=_count, default=3, metavar="K", help="labels per drawing")
    p.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds a request may take")
    p.add_argument("--wait", type=_wait, default=10.0, metavar="S", help="seconds to wait for the server to be ready")

    p = command("play", "a web page: draw, and a served model guesses")
    p.add_argument(
        "--target", metavar="HOST:PORT", help="a server's gRPC address; not given: the embedded one is started"
    )
    p.add_argument("--model", type=_text, metavar="NAME", help="its name; not given: doodles, or the directory's")
    p.add_argument(
        "--model-dir", type=_path, metavar="DIR", help="to start it on; not given: the newest export below ."
    )
    p.add_argument(
        "--data",
        nargs="+",
        type=_path,
        metavar="SRC",
        help="drawings to show: .ndjson files, or directory of them, or prepared one",
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen on")
    p.add_argument("--port", type=_whole, default=8000, help="port to listen on; 0: any free one")

    p = command("info", "explain a file or directory: drawings, prepared data, run, report or model")
    p.add_argument("paths", nargs="*", type=_path, metavar="PATH", help="none: this installation")
    _raw(p)
    g = p.add_argument_group("picture")
    g.add_argument("--gallery", type=_path, metavar="FILE", help="draw some of the drawings into a .svg or .png file")
    g.add_argument("--count", type=_count, default=40, metavar="N", help="drawings to draw, spread over all")
    g.add_argument("--columns", type=_count, default=8, metavar="N", help="drawings in a row")
    return top
