"""Downloads Google's simplified files: several at once, resumed after interruptions, checked when complete.

A file grows as ``<class>.ndjson.part``. ``<class>.ndjson.part.json`` records the version of the server's file,
so that two versions are never mixed. The file gets its final name when its size and hash are those of the server.
"""

from __future__ import annotations

import difflib
import http.client
import json
import os
import queue
import random
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from .._printable import printable
from ..errors import DataError, Error
from ..storage.progress import Progress
from .connection import open_url
from .version import Version

DEFAULT_URL = "https://storage.googleapis.com/quickdraw_dataset/full/simplified"

CLASSES: tuple[str, ...]
"""The 345 classes of *Quick, Draw!*, sorted. Read at first use."""

_CHUNK = 1 << 18
_BACKOFF = 0.5  # seconds before the first retry, doubled each time
_LONGEST_PAUSE = 30.0
_NAMED = 5  # of the classes that failed
_LEAST = 1 << 12  # bytes within the timeout below which a connection counts as dropped, and an attempt as failed
_CHANGES = 5  # times that the server's file may change during its download


def __getattr__(name: str) -> Any:
    if name == "CLASSES":
        return _classes()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _classes() -> tuple[str, ...]:
    return tuple(files(__package__).joinpath("classes.txt").read_text("utf-8").splitlines())


def download(
    classes: Iterable[str],
    out: str | os.PathLike[str],
    *,
    all_classes: bool = False,
    base_url: str = DEFAULT_URL,
    jobs: int = 4,
    retries: int = 5,
    timeout: float = 30.0,
    progress: Progress | None = None,
) -> list[Path]:
    """Download ``<base_url>/<class>.ndjson`` into ``out`` for each class.

    Existing files with the size and hash of the server's files are kept. A dropped connection is resumed where it
    stopped, by this call or the next one. If a class fails, the others are still downloaded. Proxies are taken from the
    environment, as by ``urllib``.

    Args:
        classes: names as in ``CLASSES``. They are checked if ``base_url`` is the default.
        out: directory, created if it does not exist.
        all_classes: also download all of ``CLASSES``.
        base_url: http or https. The server must send sizes and should support ranges.
        jobs: number of parallel downloads.
        retries: number of successive attempts with hardly a received byte before a file fails.
        timeout: seconds with hardly a received byte until a connection counts as dropped.
        progress: shows the received bytes. Default: a line on stderr, if that is a terminal.

    Returns:
        The files, in the order of ``classes``.

    Raises:
        DataError: an unknown class, a file without the size and hash that the server sent, or one that keeps changing.
        OSError: the server cannot be reached or refuses, or a file cannot be written. Received bytes are kept.
    """
    names = list(dict.fromkeys([*classes, *(_classes() if all_classes else ())]))
    base = base_url.rstrip("/")
    _check(names, base, jobs)
    directory = Path(out)
    directory.mkdir(parents=True, exist_ok=True)
    link = _Link(base, retries, timeout)
    transfers = [_Transfer(name, directory, link) for name in names]
    with progress or Progress("download", unit="bytes") as shown:
        failed = _in_threads(_Transfer.probe, transfers, jobs, link.stop, shown)
        found = [t for t in transfers if t not in failed]
        shown.total = sum(t.version.size for t in found)
        failed |= _in_threads(_Transfer.fetch, found, jobs, link.stop, shown)
    if failed:
        raise _combined({t.name: failed[t] for t in transfers if t in failed}, len(names))
    return [t.path for t in transfers]


def _check(names: Sequence[str], base: str, jobs: int) -> None:
    if not names:
        raise DataError("no classes to download")
    if jobs < 1:
        raise DataError(f"jobs must be 1 or more, not {jobs}")
    try:
        scheme = urllib.parse.urlsplit(base).scheme
    except ValueError as error:
        raise DataError(f"not a URL: {base} ({error})") from error
    if scheme not in ("http", "https"):
        raise DataError(f"not an http or https URL: {base}")
    if base == DEFAULT_URL:
        unknown = [f"{name!r}{_suggestion(name)}" for name in names if name not in _classes()]
        if unknown:
            raise DataError(f"unknown class {'; '.join(unknown)}")
    for name in names:
        if not name.isprintable() or name.strip(" .") == "" or set(name) & set('/\\:*?"<>|'):
            raise DataError(f"not a class name: {name!r}")


def _suggestion(name: str) -> str:
    by_lower = {c.lower(): c for c in _classes()}
    close = difflib.get_close_matches(name.lower().replace("_", " "), by_lower, n=3)
    return f" (did you mean {' or '.join(repr(by_lower[c]) for c in close)}?)" if close else ""


def _combined(errors: dict[str, Exception], n: int) -> Exception:
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    kind = DataError if all(isinstance(e, DataError) for e in errors.values()) else OSError
    names = ", ".join([*errors][:_NAMED] + ["…"] * (len(errors) > _NAMED))
    return kind(f"{len(errors)} of {n} classes failed: {names}; the first: {first}")


def _in_threads(
    work: Callable[[_Transfer, Callable[[int], None]], None],
    transfers: Sequence[_Transfer],
    jobs: int,
    stop: threading.Event,
    progress: Progress,
) -> dict[_Transfer, Exception]:
    """Run ``work`` on all transfers, and return those that failed. Only the calling thread touches ``progress``."""
    todo: queue.SimpleQueue[_Transfer] = queue.SimpleQueue()
    events: queue.SimpleQueue[int | tuple[_Transfer, Exception | None]] = queue.SimpleQueue()
    for transfer in transfers:
        todo.put(transfer)

    def worker() -> None:
        while not stop.is_set():
            try:
                transfer = todo.get_nowait()
            except queue.Empty:
                return
            try:
                work(transfer, events.put)
                events.put((transfer, None))
            except Exception as error:
                events.put((transfer, error))

    # Daemons, so that one waiting for a silent server does not hold up an interrupted program.
    threads = [threading.Thread(target=worker, daemon=True) for _ in range(min(jobs, len(transfers)))]
    errors: dict[_Transfer, Exception] = {}
    left = len(transfers)
    try:
        for thread in threads:
            thread.start()
        while left:
            try:
                event = events.get(timeout=0.2)  # Windows lets no Ctrl-C through while waiting
            except queue.Empty:
                continue
            if isinstance(event, int):
                progress.update(event)
                continue
            left -= 1
            transfer, error = event
            if error is not None:
                if not isinstance(error, (Error, OSError)):
                    raise error
                errors[transfer] = error
    except BaseException:
        stop.set()
        deadline = time.monotonic() + 1
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        raise
    return errors


class _Transient(Exception):
    """Worth another attempt, after ``wait`` seconds at least."""

    def __init__(self, cause: object, wait: float = 0.0, status: int = 0) -> None:
        super().__init__(printable(" ".join(str(cause).split())) or type(cause).__name__)
        self.wait, self.status = wait, status


class _Stopped(Exception):
    """The caller was interrupted."""


@dataclass(frozen=True)
class _Link:
    """What the transfers of one call share."""

    base: str
    retries: int
    timeout: float
    stop: threading.Event = field(default_factory=threading.Event)  # the caller was interrupted
    down: threading.Event = field(default_factory=threading.Event)  # a file was given up; no answer since


class _Transfer:
    """The download of one class's file: ``probe`` asks for its size and hash, ``fetch`` downloads it."""

    def __init__(self, name: str, out: Path, link: _Link) -> None:
        self.name, self.link = name, link
        self.url = f"{link.base}/{urllib.parse.quote(name)}.ndjson"
        self.path = out / f"{name}.ndjson"
        self.part = out / f"{name}.ndjson.part"
        self.note = out / f"{name}.ndjson.part.json"
        self.version = Version(0, "", "", "")
        self.have = 0  # bytes in the .part file, all of this version
        self.failures = 0
        self.changes = 0
        self.report: Callable[[int], None] = lambda n: None

    def probe(self, report: Callable[[int], None]) -> None:
        while True:
            try:
                with self._open("HEAD", {}) as response:
                    self.version = Version.stated(response.headers, self._length(response))
                return
            except _Transient as error:
                self._pause(error)

    def fetch(self, report: Callable[[int], None]) -> None:
        self.report = report
        if self.version.describes(self.path):
            report(self.version.size)
            return
        try:
            self._resume()
            self._receive_all()
            if not self.version.describes(self.part):
                self._discard()
                self._receive_all()
                if not self.version.describes(self.part):
                    self._discard()
                    raise DataError(f"{self.name}: wrong size or hash after two downloads: {self.url}")
            self.part.replace(self.path)
            self.note.unlink(missing_ok=True)
        except OSError as error:
            if error.filename is None and error.errno is not None:  # from write() or close(): say which file
                raise OSError(error.errno, error.strerror, str(self.part)) from error
            raise

    def _receive_all(self) -> None:
        self.failures, farthest = 0, self.have
        while self.have < self.version.size or not self.part.exists():
            try:
                self._receive()
            except _Transient as error:
                if error.status == 416:
                    self._discard()
                if self.have >= farthest + _LEAST:  # than the best attempt, as a server may have no ranges
                    self.failures, farthest = 0, self.have
                self._pause(error)

    def _receive(self) -> None:
        """Continue the .part file from the server, or start it."""
        if not self.version.validator:
            self._discard()
        headers = {"Range": f"bytes={self.have}-", "If-Range": self.version.validator} if self.have else {}
        with self._open("GET", headers) as response:
            if response.status == 206:
                stated = Version.stated(response.headers, self.version.size)
                if response.headers.get("Content-Range") != (
                    f"bytes {self.have}-{self.version.size - 1}/{self.version.size}"
                ) or stated.validator not in ("", self.version.validator):
                    self._discard()
                    raise _Transient("the server's file changed")
            else:
                self._discard()
                self._set_version(Version.stated(response.headers, self._length(response)))
                self.note.write_text(json.dumps(asdict(self.version)))
            with self.part.open("ab") as file:
                begun, had = time.monotonic(), self.have
                while self.have < self.version.size:
                    try:
                        chunk = response.read1(_CHUNK)
                    except (OSError, http.client.HTTPException) as error:
                        raise _Transient(error) from error
                    if self.link.stop.is_set():
                        raise _Stopped
                    if not chunk:
                        raise _Transient(f"connection closed after {self.have} of {self.version.size} bytes")
                    file.write(chunk)
                    file.flush()
                    self._count(len(chunk))
                    if (now := time.monotonic()) - begun > self.link.timeout:
                        if self.have - had < _LEAST:
                            raise _Transient(f"only {self.have - had} bytes in {now - begun:.0f} s")
                        begun, had = now, self.have

    def _set_version(self, version: Version) -> None:
        if (version.size, version.validator) != (self.version.size, self.version.validator):
            self.changes += 1
            if self.changes > _CHANGES:
                raise DataError(f"{self.name}: the server's file keeps changing during the download: {self.url}")
        self.version = version

    def _open(self, method: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        headers = {"User-Agent": "qdfast", "Accept-Encoding": "identity", **headers}
        request = urllib.request.Request(self.url, headers=headers, method=method)
        try:
            response = open_url(request, self.link.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            cause = f"HTTP {error.code} {error.reason}"
            if error.code in (408, 416, 429) or error.code >= 500:
                wait = error.headers.get("Retry-After", "")
                raise _Transient(cause, float(wait) if wait.isdecimal() else 0.0, error.code) from error
            if error.code in (404, 410):
                close = "" if self.name in _classes() else _suggestion(self.name)
                raise DataError(f"{self.name}: {cause}: {self.url}{close}") from error
            raise OSError(printable(f"{self.name}: {cause}: {self.url}")) from error
        except (DataError, http.client.InvalidURL) as error:
            raise DataError(f"{self.name}: {error}: {self.url}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise OSError(printable(f"{self.name}: {reason.verify_message}: {self.url}")) from error
            raise _Transient(reason) from error
        self.link.down.clear()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            raise DataError(f"{self.name}: the server compresses the file, which is not supported: {self.url}")
        return response

    def _length(self, response: http.client.HTTPResponse) -> int:
        length = response.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", length):
            raise DataError(f"{self.name}: the server does not send the file's size: {self.url}")
        return int(length)

    def _pause(self, error: _Transient) -> None:
        self.failures += 1
        # With a server that is down, every class is tried, but the patience is spent once.
        if self.failures > self.link.retries or self.link.down.is_set():
            self.link.down.set()
            raise ConnectionError(f"{self.name}: {error} (tried {self.failures}x): {self.url}") from error
        pause = _BACKOFF * 2 ** (self.failures - 1) * random.uniform(0.5, 1)
        if self.link.stop.wait(min(max(pause, error.wait), _LONGEST_PAUSE)):
            raise _Stopped

    def _resume(self) -> None:
        """Continue with the .part file if it is of the version that the server has now."""
        try:
            note = json.loads(self.note.read_text())
            size = self.part.stat().st_size
            known = (note["size"], note["validator"]) == (self.version.size, self.version.validator)
        except (OSError, ValueError, KeyError, TypeError):
            known = False
        if known and size <= self.version.size:
            self._count(size)
        else:
            self._discard()

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self._count(-self.have)

    def _count(self, n: int) -> None:
        self.have += n
        self.report(n)
