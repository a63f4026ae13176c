"""``play``: the web page, and the embedded server where no other is named, until a signal ends it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from types import FrameType

import uvicorn

from .._quiet import import_tensorflow
from ..client import Client
from ..errors import DataError, ServingError
from ..serve.address import check_port, format_address
from ..serve.versions import newest_version
from .app import application
from .examples import Examples, exported_classes, named_classes, newest_export
from .middleware import names_of

LOOPBACK = "127.0.0.1"
TIMEOUT = 5.0  # seconds a guess may take: later, the drawing is another one
PATIENCE = 1.5  # seconds for a server to answer before the page is shown all the same


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
    """Serve the page until SIGTERM or SIGINT. Prints ``play MODEL at http://HOST:PORT`` when it is ready.

    Args:
        target: ``host:port`` of a server's gRPC API; default: the embedded server is started on ``model_dir``.
        model: the model's name; default: of a server "doodles", else the directory's.
        model_dir: a model directory; default: the one below the working directory that was exported to last.
        data: drawings to show after a round, as ``Examples`` takes them; default: procedural ones.
        host, port: where to listen; port 0 takes a free one.
        log: called with a line if the server does not answer: it may yet.

    Raises:
        DataError: no model, both a server and a directory, or ``data`` that cannot be shown.
        ServingError: the port is taken.
    """
    if target is not None and model_dir is not None:
        raise DataError("either a server is asked (--target) or one is started (--model-dir), not both")
    with ExitStack() as stack:
        listening = stack.enter_context(_listen(host, port))
        examples = Examples(data)
        words: Callable[[], Sequence[str]]
        if target is not None:
            client = stack.enter_context(Client(target, model=model or "doodles", timeout=TIMEOUT))
            words = (lambda: examples.classes) if data else cache(partial(named_classes, client))
            try:
                client.wait_ready(PATIENCE)
            except ServingError as e:
                log(f"no guesses yet: {e}")
        else:
            found = Path(model_dir) if model_dir is not None else newest_export(Path())
            client = stack.enter_context(_embedded(found, model or found.resolve().name, stack))
            words = partial(exported_classes, found)
        app = application(client, words, examples, names_of(host))
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", ws="none", server_header=False, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)

        def stop(number: int, frame: FrameType | None) -> None:
            server.should_exit = True

        # For a signal that comes before uvicorn listens to them; and it raises one that ended it again.
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        print(f"play {client.model_spec.name} at http://{format_address(host, listening.getsockname()[1])}", flush=True)
        server.run(sockets=[listening])


def _embedded(model_dir: Path, name: str, stack: ExitStack) -> Client:
    newest_version(model_dir)  # says what is wrong before anything heavy
    import_tensorflow()
    from ..serve.server import Server

    server = stack.enter_context(Server(model_dir, host=LOOPBACK, name=name))
    return Client(format_address(LOOPBACK, server.port), model=name, timeout=TIMEOUT)


def _listen(host: str, port: int) -> socket.socket:
    check_port(host, port)  # says why not
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Connections inherit it. asyncio sees to it only for sockets it has made; without, an answer's body waits 40 ms
        # for its head to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as e:
        raise ServingError(f"cannot listen on {format_address(host, port)}: {e.strerror}") from e
