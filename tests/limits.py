"""Limits on child processes. The functions are given to them as ``preexec_fn``."""

from __future__ import annotations

import resource
import signal

PROCESS_TIMEOUT = 600.0  # seconds that a test waits for a process; only one that hangs takes so long


def no_big_files() -> None:
    """``preexec_fn`` of a process whose disk is full, as it were: it cannot write past 8 KiB of a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def few_open_files() -> None:
    """``preexec_fn`` of a process that may have 64 files open, unless it asks for more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
