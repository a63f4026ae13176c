"""``serve``: runs TensorFlow Serving if it is installed, else the embedded server, until a signal ends it."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._hints import install, require
from .._quiet import import_tensorflow
from ..errors import ServingError
from ..storage.versions import check_saved_model, newest_version
from .address import check_port, format_address
from .options import ServeOptions
from .tf_serving_process import BINARY, POLL_SECONDS, print_ready, run_tf_serving

log: logging.Logger = logging.getLogger(__name__)


def serve(options: ServeOptions) -> None:
    """Serve models until SIGTERM or SIGINT.

    Prints ``serving NAME version V on HOST:PORT`` for every model that is ready. If the model never answers some calls,
    the process ends with status 1 soon after the signal and the grace.

    Args:
        options: what to serve, where and how.

    Raises:
        DataError: there is no model to serve, or a file cannot be used.
        ServingError: a port is taken, or ``tensorflow_model_server`` is missing, lacks an option or exited.

    Example:
        >>> serve(ServeOptions("models/doodles", port=8500))  # doctest: +SKIP
        serving doodles version 1 on 127.0.0.1:8500
    """
    if options.model_dir is not None:
        check_saved_model(options.path, newest_version(options.path))
    binary = None if options.embedded else shutil.which(BINARY)
    if binary is not None and options.allow_reload:
        raise ServingError(f"{BINARY} accepts reload requests always, for any directory: use --embedded to limit them")
    if options.embedded is False and binary is None:
        raise ServingError(f"{BINARY} is not on the PATH; for the embedded server: {install('serve')}")
    with _stop_signals() as stop:
        if binary is None:
            run_embedded(options, stop)
        else:
            run_tf_serving(binary, options, stop)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Provide an event that SIGTERM and SIGINT set; a second signal has its usual effect."""
    stop = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal(number: int, frame: object) -> None:
        stop.set()
        for s, handler in before.items():
            signal.signal(s, handler)

    before = {s: signal.signal(s, on_signal) for s in signals}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def run_embedded(options: ServeOptions, stop: threading.Event) -> None:
    """Run the embedded server until ``stop`` is set."""
    require("serve")
    from .batching_config import DEFAULTS, read_parameters
    from .model_config import ModelConfigFile
    from .tls import server_credentials

    check_port(options.host, options.port)  # fail on this and on bad files before the slow import of TensorFlow
    models: Path | ModelConfigFile = options.path
    if options.model_dir is None:
        models = ModelConfigFile(options.path)
        models.read()
    match options.batching:
        case False:
            batching = None
        case None:
            batching = DEFAULTS
        case file:
            batching = read_parameters(file)
    credentials = server_credentials(*options.tls) if options.tls else None
    import_tensorflow()
    from .server import Server

    # A full garbage collection would look at all that has been imported, and stop every request for 0.4 s.
    gc.freeze()
    server = Server(
        models,
        host=options.host,
        port=options.port,
        name=options.model_name,
        poll_seconds=options.poll_seconds,
        batching=batching,
        credentials=credentials,
        metrics_port=options.metrics_port,
        rest_port=options.rest_port,
        rest_tls=options.tls,
        allow_reload=options.allow_reload,
        on_available=lambda name, version: print_ready(name, version, format_address(options.host, server.port)),
    )
    server.start()
    # The kernel may deliver the signal to another thread without waking this one, and Python runs signal handlers only
    # in the main thread: wake up regularly so that the handler can run.
    while not stop.wait(POLL_SECONDS):
        pass
    still_running = server.stop(options.grace)
    if still_running:
        log.error("%d call(s) did not end; ending the process without them", still_running)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # sys.exit would wait for the threads of the calls, without limit
