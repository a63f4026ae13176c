"""The command line: `qdfast COMMAND …`. Each command is imported when it runs.

Results go to stdout, all else to stderr. Exit status: 0 success, 1 an error (one line says which), 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from .errors import DataError, Error
from .quiet import import_quietly
from .target import add_target, open_model

EXTRAS = {
    "tensorflow": "train",
    "keras": "train",
    "matplotlib": "train",
    "pyarrow": "convert",
    "sklearn": "train",
    "scipy": "train",
    "jinja2": "train",
    "markupsafe": "train",
    "grpc": "client",
    "google": "client",
    "grpc_health": "serve",
    "grpc_reflection": "serve",
    "prometheus_client": "serve",
    "tensorflow_serving": "serve",
    "apache_beam": "beam",
    "starlette": "play",
    "uvicorn": "play",
}


def say(line: str) -> None:
    """One line to stderr, at once."""
    print(line, file=sys.stderr, flush=True)


# ---- commands ----


def _download(a: argparse.Namespace) -> None:
    from .download import DEFAULT_URL, download

    if not a.classes and not a.all:
        raise DataError("name the classes to download, or give --all")
    base_url = a.base_url or DEFAULT_URL
    for path in download(a.classes, a.out, all_classes=a.all, base_url=base_url, jobs=a.jobs, retries=a.retries):
        print(path)


def _doodles(a: argparse.Namespace) -> None:
    from .doodles import write_doodles

    for path in write_doodles(a.out, classes=a.classes or None, per_class=a.per_class, seed=a.seed):
        print(path)


def _prepare(a: argparse.Namespace) -> None:
    from .shards import SPLITS

    options = {name: getattr(a, name) for name in ("recognized", "label", "validation", "raw")}
    if a.runner == "beam":
        import_quietly("apache_beam")
        from . import beam

        if a.threads:
            raise DataError("--threads is for the local runner: Beam's own options say how many workers there are")
        manifest = beam.prepare(a.sources, a.out, **options, beam_args=a.beam_arg, log=say)
    else:
        from .prepare import prepare

        if a.beam_arg:
            raise DataError("--beam-arg is for --runner beam")
        manifest = prepare(a.sources, a.out, **options, threads=a.threads, log=say).manifest
    classes = manifest["classes"].values()
    train, validation = (sum(of[split]["drawings"] for of in classes) for split in SPLITS)
    print(f"{a.out}: {train:,} + {validation:,} drawings (training + validation) in {len(classes)} classes")


def _convert(a: argparse.Namespace) -> None:
    from .convert import convert

    if a.format == "tfrecord":
        import_quietly("tensorflow")
    convert(a.data, a.out, format=a.format, log=print)


def _models(a: argparse.Namespace) -> None:
    import_quietly("keras")
    from .learn.catalogue import catalogue

    print(catalogue(a.classes))


def _train(a: argparse.Namespace) -> None:
    from .learn.baselines import BASELINES
    from .learn.train import train

    if a.model not in BASELINES:
        import_quietly("keras")
        from .learn.launch import on_workers, processes_wanted

        if count := processes_wanted(a.distribute):
            a.distribute = "multiworker"
            return on_workers(partial(_status, a), count)

    options = {name: value for name, value in vars(a).items() if name not in ("command", "run", "data", "out")}
    train(a.data, a.out, **options, log=lambda line: print(line, flush=True))


def _evaluate(a: argparse.Namespace) -> None:
    from .learn.evaluate import evaluate
    from .learn.runs import RUN, load_run
    from .learn.table import format_table
    from .sources import load_rows

    more = [path for path in a.sources if (path / RUN).exists()]
    sources = [path for path in a.sources if path not in more]
    runs = [load_run(path) for path in (a.run_dir, *more)]
    if not sources:
        raise DataError(f"no drawings to judge by: {', '.join(map(str, more))} are runs, too")
    if not all(run.baseline for run in runs):
        import_quietly("keras")
    rows = load_rows(
        sources,
        recognized=a.recognized,
        label=a.label,
        raw=a.raw,
        split=a.split,
        trained_on=[run.info["data"] for run in runs],
        log=say,
    )
    print(format_table(evaluate(runs, rows, a.out, source=", ".join(map(str, sources)))))
    say(f"{a.out / 'report.html'}: the same and more, to look at")


def _export(a: argparse.Namespace) -> None:
    import_quietly("tensorflow")
    from .learn.export import export

    print(export(a.run_dir, a.out, top_k=a.top_k))


def _serve(a: argparse.Namespace) -> None:
    from .serve.launch import serve

    serve(**{name: value for name, value in vars(a).items() if name not in ("command", "run")})


def _predict(a: argparse.Namespace) -> None:
    from .predict import predict
    from .report import explain
    from .sources import resolve

    sources: list[Any] = [_stdin() if s == "-" else s for s in a.sources]
    resolve(sources)  # a missing file is said before a model is loaded, or a server waited for
    with open_model(a) as model:
        report = predict(sources, sys.stdout.buffer, model, k=a.k, recognized=a.recognized, raw=a.raw)
    say(explain(report))
    if not report.kept:
        raise DataError("no drawings to predict")


def _play(a: argparse.Namespace) -> None:
    from .play import play

    play(target=a.target, model=a.model, model_dir=a.model_dir, data=a.data or (), host=a.host, port=a.port)


def _info(a: argparse.Namespace) -> None:
    from .info import describe, installation

    if a.gallery:
        from .gallery import gallery

        if not a.paths:
            raise DataError("--gallery draws what is in a PATH: none is given")
        shown, of = gallery(a.paths, a.gallery, count=a.count, columns=a.columns, raw=a.raw)
        say(f"{a.gallery}: {shown:,} of {of:,} drawings")
    if not a.paths:
        print(installation())
    for i, path in enumerate(a.paths):
        print("\n" * bool(i) + describe(path, raw=a.raw), flush=True)


def _stdin() -> IO[bytes]:
    if sys.stdin is None:
        raise DataError("standard input is closed")
    return sys.stdin.buffer


# ---- arguments ----


def _checked(kind: type, low: float, what: str) -> Callable[[str], Any]:
    """An argparse type: a number from ``low`` to 2^31."""

    def check(text: str) -> Any:
        value = kind(text)
        if not low <= value <= 2**31:  # also not nan
            raise argparse.ArgumentTypeError(f"{text} is not {what}")
        return value

    check.__name__ = kind.__name__  # for argparse's own message
    return check


_count = _checked(int, 1, "a positive number")
_whole = _checked(int, 0, "0 or more")
_seconds = _checked(float, 1e-3, "a positive number")
_wait = _checked(float, 0, "0 or more")


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
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def _place(text: str) -> str:
    """An argparse type, of a path or URL: not "", which would be the current directory; an unset variable gives it."""
    if not text:
        raise argparse.ArgumentTypeError("empty path")
    return _text(text)


def _path(text: str) -> Path:
    """An argparse type."""
    return Path(_place(text))


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
    top = argparse.ArgumentParser("qdfast", description="From Quick, Draw! drawings to a served model.")
    top.add_argument("--version", action="version", version=f"qdfast {_installed_version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], help_: str) -> argparse.ArgumentParser:
        p = commands.add_parser(name, help=help_, description=help_, formatter_class=_Help)
        p.set_defaults(run=run)
        return p

    p = command("download", _download, "fetch Google's simplified drawings (about 60 MB a class)")
    p.add_argument("classes", nargs="*", metavar="CLASS", help='class names, such as cat "ice cream"')
    p.add_argument("--all", action="store_true", help="all 345 classes (23 GB)")
    p.add_argument("--out", required=True, type=_path, metavar="DIR", help="directory for the files")
    p.add_argument("--base-url", metavar="URL", help="a mirror of Google's directory of .ndjson files")
    p.add_argument("--jobs", type=_count, default=4, metavar="N", help="files fetched at once")
    p.add_argument("--retries", type=_whole, default=5, metavar="N", help="attempts in a row that may fail")

    p = command("doodles", _doodles, "write procedural doodles in the form of Google's files")
    p.add_argument("classes", nargs="*", metavar="CLASS", help="some of the classes there are; none: all")
    p.add_argument("--out", required=True, type=_path, metavar="DIR", help="directory for the files")
    p.add_argument("--per-class", type=_whole, default=500, metavar="N", help="drawings per class")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="other drawings with another seed")

    p = command("prepare", _prepare, "drawings to training data: columns, split, statistics")
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

    p = command("convert", _convert, "prepared drawings in a format that others read")
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

    p = command("models", _models, "list what `train --model` takes: networks, and scikit-learn's classifiers")
    p.add_argument("--classes", type=_count, default=345, metavar="N", help="of which the parameters are counted")

    p = command("train", _train, "train a classifier; the same command continues a run that was killed")
    p.add_argument("data", type=_path, metavar="DATA", help="a prepared directory")
    p.add_argument("--out", required=True, type=_path, metavar="RUN", help="run directory")
    p.add_argument("--model", default="stroke_conv", metavar="NAME", help="which one; `qdfast models` lists them")
    p.add_argument("--seed", type=int, default=42, metavar="N", help="of weights, dropout and order")
    g = p.add_argument_group("network")
    g.add_argument("--max-len", type=_count, metavar="N", help="points after which a drawing is cut")
    g.add_argument(
        "--buckets", type=_count, nargs="*", metavar="N", help="shorter lengths that batches are padded to; GPU: few"
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

    p = command("evaluate", _evaluate, "judge what was trained by drawings: a page to look at, and metrics.json")
    g.add_argument(
        "--distribute",
        choices=("auto", "mirrored", "multiworker", "none"),
        default="auto",
        help="share every step: with the workers in TF_CONFIG (multiworker), with all devices of this host (mirrored)",
    )

    p = command("evaluate", _evaluate, "judge what was trained by drawings: metrics.json and a table")
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

    p = command("export", _export, "write a trained network as the next version of a SavedModel")
    p.add_argument("run_dir", type=_path, metavar="RUN", help="run directory")
    p.add_argument(
        "--out", required=True, type=_path, metavar="MODEL_DIR", help="model directory; the model is named as it"
    )
    p.add_argument("--top-k", type=_count, default=10, metavar="K", help="labels an answer may have")

    p = command("serve", _serve, "serve a model over gRPC (TensorFlow Serving's API) until interrupted")
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

    p = command("predict", _predict, "ask a model, served or exported, about drawings; answers as ndjson")
    _sources(p, "any", f"{either}; - for standard input", _text)
    instead = add_target(p)
    instead.add_argument("--model-dir", type=_path, metavar="DIR", help="an exported model, loaded here: no server")
    p.add_argument("--model", type=_text, default="doodles", metavar="NAME", help="the model's name on the server")
    p.add_argument("--version", type=_version, metavar="V", help="a version's number or label; not given: the newest")
    p.add_argument("-k", type=_count, default=3, metavar="K", help="labels per drawing")
    p.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds a request may take")
    p.add_argument("--wait", type=_wait, default=10.0, metavar="S", help="seconds to wait for the server to be ready")

    p = command("play", _play, "a web page: draw, and a served model guesses")
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

    p = command("info", _info, "explain a file or directory: drawings, prepared data, run, report or model")
    p.add_argument("paths", nargs="*", type=_path, metavar="PATH", help="none: this installation")
    _raw(p)
    g = p.add_argument_group("picture")
    g.add_argument("--gallery", type=_path, metavar="FILE", help="draw some of the drawings into a .svg or .png file")
    g.add_argument("--count", type=_count, default=40, metavar="N", help="drawings to draw, spread over all")
    g.add_argument("--columns", type=_count, default=8, metavar="N", help="drawings in a row")
    return top


def _installed_version() -> str:
    from importlib.metadata import version

    return version("qdfast")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - closed by whoever started us, for good
    a = parser().parse_args(arguments)
    if sys.stdout is None:
        say(f"qdfast {a.command}: error: standard output is closed")
        return 1
    return _status(a)


def _status(a: argparse.Namespace) -> int:
    """Run the command of parsed arguments; its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # rather an odd name than none
    try:
        a.run(a)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        say(f"qdfast {a.command}: interrupted")
        return 130
    except ModuleNotFoundError as e:
        extra = EXTRAS.get((e.name or "").split(".")[0])
        if extra is None:
            raise
        say(f"qdfast {a.command}: error: {e.name} is not installed: pip install 'qdfast[{extra}]'")
        return 1
    except (Error, OSError) as e:
        say(f"qdfast {a.command}: error: {_one_line(e)}")
        return 1
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
