"""``play``: runs the web page, and the embedded server unless ``target`` is given, until a signal ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import FrameType

import uvicorn

from .._hints import require
from .._printable import printable
from .._quiet import import_tensorflow
from ..client import Client
from ..errors import DataError, ServingError
from ..serve.address import format_address
from ..serve.http_limits import HttpConfig
from ..serve.http_server import listen
from ..storage.versions import check_saved_model, is_onnx, newest_version
from .app import LocalModel, create_app
from .examples import Examples, exported_classes, newest_export, probe_classes
from .middleware import allowed_hosts

LOOPBACK = "127.0.0.1"
TIMEOUT = 5.0  # seconds for a guess; after that, the drawing has changed
READY_SECONDS = 1.5  # to wait for a server before the page starts without it
MAX_CONNECTIONS = 512  # a browser opens up to six


def play(
    *,
    target: str | None = None,
    model: str | None = None,
    model_dir: str | os.PathLike[str] | None = None,
    data: Sequence[str | os.PathLike[str]] = (),
    host: str = LOOPBACK,
    port: int = 8000,
    log: Callable[[str], None] = print,
) -> None:
    """Serve the page until SIGTERM or SIGINT.

    Prints ``play MODEL at http://HOST:PORT`` when the page is ready.

    Args:
        target: ``host:port`` of a server's gRPC API; default: start the embedded server on ``model_dir``.
        model: the model's name; default: "doodles" with ``target``, otherwise the directory's name.
        model_dir: a model directory, or an ``.onnx`` file, which runs without the embedded server and TensorFlow;
            default: the most recent export below the working directory.
        data: sources of drawings to show after a round, as for ``Examples``; default: procedural drawings.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        log: called with a line if the server does not answer yet.

    Raises:
        DataError: there is no model, both ``target`` and ``model_dir`` are given, or ``data`` cannot be shown.
        ServingError: the port is taken.

    Example:
        >>> play(model_dir="models/doodles")  # doctest: +SKIP
        play doodles at http://127.0.0.1:8000
    """
    if target is not None and model_dir is not None:
        raise DataError("give a running server (--target) or a model to start one with (--model-dir), not both")
    with ExitStack() as stack:
        listening = stack.enter_context(listen(host, port))
        examples = Examples(data)
        client: Client | LocalModel
        words: Callable[[], Sequence[str]]
        if target is not None:
            client = remote = stack.enter_context(Client(target, model=model or "doodles", timeout=TIMEOUT))
            words = (lambda: examples.classes) if data else cache(partial(probe_classes, remote))
            try:
                remote.wait_ready(READY_SECONDS)
            except ServingError as e:
                log(f"no guesses yet: {e}")
        else:
            exported = Path(model_dir) if model_dir is not None else newest_export(Path())
            if is_onnx(exported):
                client = local = LocalModel(exported)
                local.model_spec = replace(local.model_spec, name=model or local.model_spec.name)
                words = partial(getattr, local, "classes")
            else:
                client = stack.enter_context(_start_embedded(exported, model or exported.resolve().name, stack))
                words = partial(exported_classes, exported)
        app = create_app(client, words, examples, allowed_hosts(host))
        server = uvicorn.Server(HttpConfig(app, max_connections=MAX_CONNECTIONS, timeout_graceful_shutdown=2))

        def stop(number: int, frame: FrameType | None) -> None:
            server.should_exit = True

        # For signals before uvicorn installs its handlers, and for the one that it raises again after stopping.
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        address = format_address(host, listening.getsockname()[1])
        print(printable(f"play {client.model_spec.name} at http://{address}"), flush=True)
        server.run(sockets=[listening])


def _start_embedded(model_dir: Path, name: str, stack: ExitStack) -> Client:
    check_saved_model(model_dir, newest_version(model_dir))  # raises an error, if any, before the slow import
    require("serve")
    import_tensorflow()
    from ..serve.server import Server

    server = stack.enter_context(Server(model_dir, host=LOOPBACK, name=name))
    return Client(format_address(LOOPBACK, server.port), model=name, timeout=TIMEOUT)
