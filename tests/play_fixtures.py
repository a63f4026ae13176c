"""The web page on a server of its own, for the tests of qdfast.play."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tiny_model
import uvicorn

from qdfast.client import Client
from qdfast.play.app import create_app
from qdfast.play.examples import Examples
from qdfast.play.middleware import allowed_hosts
from qdfast.serve.http_limits import HttpConfig


@contextmanager
def site(client: Client, words: Sequence[str] = tiny_model.CLASSES, examples: Examples | None = None) -> Iterator[str]:
    """The page's address."""
    app = create_app(client, lambda: words, examples or Examples(), allowed_hosts("127.0.0.1"))
    server = uvicorn.Server(HttpConfig(app, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
