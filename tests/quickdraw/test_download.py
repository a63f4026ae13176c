from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from qdfast import cli
from qdfast.errors import DataError
from qdfast.quickdraw import connection
from qdfast.quickdraw import download as module
from qdfast.quickdraw.checksums import crc32c
from qdfast.quickdraw.download import CLASSES, DEFAULT_URL, download
from qdfast.storage.progress import Progress

DATA = {name: np.random.default_rng(i).bytes(300_000 + i) for i, name in enumerate(("cat", "dog", "smiley face"))}
OTHER = np.random.default_rng(99).bytes(300_000)

Fault = Callable[["Handler", bytes], None]


class Site:
    """What a server holds, how it behaves, and what it was asked."""

    def __init__(self) -> None:
        self.files = dict(DATA)
        self.ranges = True
        self.if_range = True
        self.etag: Callable[[bytes], str | None] = lambda data: f'"{hashlib.md5(data).hexdigest()}"'
        self.hashes: Callable[[bytes], list[str]] = lambda data: [
            "crc32c=AAAAAA==",  # not looked at where md5 is stated
            "md5=" + base64.b64encode(hashlib.md5(data).digest()).decode(),
        ]
        self.faults: dict[tuple[str, str], list[Fault]] = {}  # by method and class: for the first requests
        self.asked: list[tuple[str, str, str | None]] = []  # method, class, Range
        self.url = ""

    def fail(self, name: str, *faults: Fault, method: str = "GET") -> None:
        self.faults[method, name] = list(faults)

    def gets(self, name: str) -> list[str | None]:
        return [r for method, n, r in self.asked if (method, n) == ("GET", name)]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.name = urllib.parse.unquote(self.path).rpartition("/")[2].removesuffix(".ndjson")
        self.site.asked.append((self.command, self.name, self.headers["Range"]))
        data = self.site.files.get(self.name)
        faults = self.site.faults.get((self.command, self.name))
        if data is None:
            self.send_error(404)
        elif faults:
            faults.pop(0)(self, data)
        else:
            self.send(data)

    def send(self, data: bytes, limit: int | None = None, extra: dict[str, str] | None = None) -> None:
        """The file or the range asked for; at most ``limit`` bytes of it."""
        site = self.site
        etag = site.etag(data)
        start = 0
        asked = self.headers["Range"]
        if asked and site.ranges and (not site.if_range or self.headers["If-Range"] == etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if etag is not None:
            self.send_header("ETag", etag)
        for value in site.hashes(data):
            self.send_header("x-goog-hash", value)
        self.send_header("Content-Length", str(len(data) - start))
        for key, value in (extra or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[start:][:limit])


def cut(n: int) -> Fault:
    """Close the connection after ``n`` bytes."""
    return lambda handler, data: handler.send(data, limit=n)


def status(code: int, **headers: str) -> Fault:
    def fault(handler: Handler, data: bytes) -> None:
        handler.send_response(code)
        for key, value in headers.items():
            handler.send_header(key.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def hang_up(handler: Handler, data: bytes) -> None:
    handler.close_connection = True


def corrupt(handler: Handler, data: bytes) -> None:
    real, handler.wfile = handler.wfile, io.BytesIO()
    handler.send(data)
    sent = bytearray(handler.wfile.getvalue())
    sent[-1] ^= 1
    handler.wfile = real
    real.write(sent)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "_BACKOFF", 0.001)
    for key in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    site = Site()
    handler = type("SiteHandler", (Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        site.url = f"http://127.0.0.1:{server.server_port}/full/simplified"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def left(out: Path) -> set[str]:
    return {p.name for p in out.iterdir()}


def check(out: Path, *names: str) -> None:
    """Exactly these files are there, whole, and nothing else."""
    assert {p.name: p.read_bytes() == DATA[p.stem] for p in out.iterdir()} == {f"{n}.ndjson": True for n in names}


def test_classes() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 345
    assert list(CLASSES) == sorted(CLASSES)
    assert {"cat", "smiley face", "The Eiffel Tower", "zigzag"} <= set(CLASSES)
    assert all(name.strip() == name for name in CLASSES)


def test_classes_are_those_of_the_real_files(quickdraw: Path) -> None:
    assert sorted(p.stem for p in (quickdraw / "simplified").glob("*.ndjson")) == list(CLASSES)


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'KLASSES'"):
        module.KLASSES  # noqa: B018


def test_fetches_several(site: Site, tmp_path: Path) -> None:
    progress = Progress("download", unit="bytes", stream=io.StringIO())
    out = tmp_path / "new" / "directory"
    paths = download(["smiley face", "cat", "cat", "dog"], out, base_url=site.url + "/", progress=progress)
    assert paths == [out / f"{n}.ndjson" for n in ("smiley face", "cat", "dog")]
    check(out, "smiley face", "cat", "dog")
    assert progress.done == progress.total == sum(map(len, DATA.values()))


def test_all_classes(site: Site, tmp_path: Path) -> None:
    site.files = {name: name.encode() for name in CLASSES}
    paths = download([], tmp_path, all_classes=True, base_url=site.url, jobs=8)
    assert [p.read_text() for p in paths] == list(CLASSES)


def test_an_empty_file(site: Site, tmp_path: Path) -> None:
    site.files["cat"] = b""
    (path,) = download(["cat"], tmp_path, base_url=site.url)
    assert path.read_bytes() == b""


def test_a_complete_file_is_kept(site: Site, tmp_path: Path) -> None:
    download(["cat"], tmp_path, base_url=site.url)
    before = (tmp_path / "cat.ndjson").stat()
    site.asked.clear()
    progress = Progress("download", unit="bytes", stream=io.StringIO())
    download(["cat"], tmp_path, base_url=site.url, progress=progress)
    assert site.asked == [("HEAD", "cat", None)]
    assert (tmp_path / "cat.ndjson").stat().st_mtime_ns == before.st_mtime_ns
    assert progress.done == len(DATA["cat"])


@pytest.mark.parametrize("stale", [b"short", bytes(len(DATA["cat"])), DATA["cat"] + b"\n"])
def test_a_file_that_is_not_the_server_s_is_fetched_anew(site: Site, tmp_path: Path, stale: bytes) -> None:
    (tmp_path / "cat.ndjson").write_bytes(stale)
    download(["cat"], tmp_path, base_url=site.url)
    check(tmp_path, "cat")


def test_dropped_connections_continue_where_they_stopped(site: Site, tmp_path: Path) -> None:
    site.fail("cat", cut(100_000), cut(50_000), hang_up, cut(0))
    progress = Progress("download", unit="bytes", stream=io.StringIO())
    download(["cat"], tmp_path, base_url=site.url, progress=progress)
    check(tmp_path, "cat")
    assert site.gets("cat") == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150000-"]
    assert progress.done == len(DATA["cat"])


def test_progress_renews_the_patience(site: Site, tmp_path: Path) -> None:
    site.fail("cat", *[cut(10_000)] * 20)
    download(["cat"], tmp_path, base_url=site.url, retries=1)
    check(tmp_path, "cat")


def test_the_next_call_continues(site: Site, tmp_path: Path) -> None:
    site.fail("cat", cut(123_456), hang_up)
    with pytest.raises(OSError, match=r"^cat: .* \(tried 2x\): http://127\.0\.0\.1:\d+/full/simplified/cat\.ndjson$"):
        download(["cat"], tmp_path, base_url=site.url, retries=1)
    assert left(tmp_path) == {"cat.ndjson.part", "cat.ndjson.part.json"}
    site.asked.clear()
    download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat") == ["bytes=123456-"]
    check(tmp_path, "cat")


def test_a_whole_part_only_has_to_be_renamed(site: Site, tmp_path: Path) -> None:
    site.fail("cat", cut(1000), hang_up)
    with pytest.raises(OSError, match="cat"):
        download(["cat"], tmp_path, base_url=site.url, retries=0)
    (tmp_path / "cat.ndjson.part").write_bytes(DATA["cat"])
    site.asked.clear()
    download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat") == []
    check(tmp_path, "cat")


@pytest.mark.parametrize("note", [None, "", "[]", '{"size": 300000}', '{"size": 300000, "validator": "\\"old\\""}'])
def test_a_part_of_unknown_version_is_not_continued(site: Site, tmp_path: Path, note: str | None) -> None:
    (tmp_path / "cat.ndjson.part").write_bytes(OTHER[:1000])
    if note is not None:
        (tmp_path / "cat.ndjson.part.json").write_text(note)
    download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat") == [None]
    check(tmp_path, "cat")


def test_a_file_that_changed_between_calls_is_started_over(site: Site, tmp_path: Path) -> None:
    site.files["cat"] = OTHER
    site.fail("cat", cut(100_000))
    with pytest.raises(OSError, match="closed after 100000 of 300000 bytes"):
        download(["cat"], tmp_path, base_url=site.url, retries=0)
    site.files["cat"] = DATA["cat"]
    site.asked.clear()
    download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat") == [None]
    check(tmp_path, "cat")


@pytest.mark.parametrize("heeds_if_range", [True, False])
@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_changes_between_attempts_is_started_over(
    site: Site, tmp_path: Path, heeds_if_range: bool, same_size: bool
) -> None:
    site.if_range = heeds_if_range
    site.files["cat"] = OTHER if same_size else OTHER[:-7]

    def change(handler: Handler, data: bytes) -> None:
        handler.send(data, limit=100_000)
        site.files["cat"] = DATA["cat"]

    site.fail("cat", change)
    progress = Progress("download", unit="bytes", stream=io.StringIO())
    download(["cat"], tmp_path, base_url=site.url, progress=progress)
    check(tmp_path, "cat")
    assert site.gets("cat") == [None, "bytes=100000-"] + [None] * (not heeds_if_range)
    assert progress.done == len(DATA["cat"])


def test_a_file_that_shrank_below_the_part_is_started_over(site: Site, tmp_path: Path) -> None:
    site.if_range = False

    def shrink(handler: Handler, data: bytes) -> None:
        handler.send(data, limit=200_000)
        site.files["cat"] = b"short"

    site.fail("cat", shrink)
    (path,) = download(["cat"], tmp_path, base_url=site.url)
    assert path.read_bytes() == b"short"
    assert site.gets("cat") == [None, "bytes=200000-", None]


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.fail("cat", cut(200_000), cut(1000))
    download(["cat"], tmp_path, base_url=site.url)
    assert len(site.gets("cat")) == 3
    check(tmp_path, "cat")


def test_a_server_without_ranges_that_always_drops_is_given_up(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.fail("cat", *[cut(200_000)] * 100)
    with pytest.raises(ConnectionError, match=r"cat: connection closed after 200000 of 300000 bytes \(tried 4x\)"):
        download(["cat"], tmp_path, base_url=site.url, retries=3)
    assert len(site.gets("cat")) == 4


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_nothing_is_continued(site: Site, tmp_path: Path, etag: str | None) -> None:
    site.etag = lambda data: etag
    site.if_range = False
    site.fail("cat", cut(100_000))
    download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat") == [None, None]
    check(tmp_path, "cat")


def test_last_modified_serves_where_there_is_no_etag(site: Site, tmp_path: Path) -> None:
    date = "Thu, 04 May 2017 12:00:00 GMT"
    site.etag = lambda data: None

    def dated(limit: int | None) -> Fault:
        return lambda handler, data: handler.send(data, limit, {"Last-Modified": date})

    def rest(handler: Handler, data: bytes) -> None:
        assert handler.headers["If-Range"] == date
        site.if_range = False
        handler.send(data, extra={"Last-Modified": date})

    site.fail("cat", dated(None), method="HEAD")
    site.fail("cat", dated(100_000), rest)
    download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat") == [None, "bytes=100000-"]
    check(tmp_path, "cat")


def test_a_damaged_file_is_fetched_once_more(site: Site, tmp_path: Path) -> None:
    site.fail("cat", corrupt)
    progress = Progress("download", unit="bytes", stream=io.StringIO())
    download(["cat"], tmp_path, base_url=site.url, progress=progress)
    assert site.gets("cat") == [None, None]
    check(tmp_path, "cat")
    assert progress.done == len(DATA["cat"])


def test_a_wrong_hash_is_an_error_in_the_end(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cat.ndjson").write_bytes(b"of old")
    site.hashes = lambda data: ["md5=" + base64.b64encode(hashlib.md5(OTHER).digest()).decode()]
    with pytest.raises(DataError, match=r"^cat: wrong size or hash after two downloads: http://.*/cat\.ndjson$"):
        download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat") == [None, None]
    assert left(tmp_path) == {"cat.ndjson"}
    assert (tmp_path / "cat.ndjson").read_bytes() == b"of old"


def test_crc32c_is_looked_at_where_it_is_all_there_is(site: Site, tmp_path: Path) -> None:
    site.files["cat"] = OTHER[:20_000]
    (tmp_path / "whole").write_bytes(OTHER[:20_000])
    good = base64.b64encode(crc32c(tmp_path / "whole").to_bytes(4, "big")).decode()
    site.hashes = lambda data: [f"crc32c={good}"]
    site.fail("cat", corrupt)
    (path,) = download(["cat"], tmp_path, base_url=site.url)
    assert path.read_bytes() == OTHER[:20_000]
    assert len(site.gets("cat")) == 2
    site.files["cat"] = OTHER[1:20_001]
    with pytest.raises(DataError, match="hash"):
        download(["cat"], tmp_path / "other", base_url=site.url)


def test_both_hashes_in_one_header(site: Site, tmp_path: Path) -> None:
    stated = site.hashes
    site.hashes = lambda data: [", ".join(stated(data))]
    site.fail("cat", corrupt)
    download(["cat"], tmp_path, base_url=site.url)
    check(tmp_path, "cat")


def test_without_any_hash_the_size_is_all(site: Site, tmp_path: Path) -> None:
    site.hashes = lambda data: []
    site.fail("cat", cut(100_000))
    download(["cat"], tmp_path, base_url=site.url)
    check(tmp_path, "cat")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_server_in_trouble_is_asked_again(site: Site, tmp_path: Path, method: str, code: int) -> None:
    site.fail("cat", status(code), status(code, Retry_After="0"), status(code, Retry_After="soon"), method=method)
    download(["cat"], tmp_path, base_url=site.url, retries=3)
    check(tmp_path, "cat")


def test_the_pause_doubles_and_heeds_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Clock(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return False

    monkeypatch.setattr(module, "_BACKOFF", 1.0)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    transfer = module._Transfer("cat", Path(), module._Link("http://127.0.0.1", 9, 1.0, stop=Clock()))
    for wait in (0.0, 0.0, 0.0, 10.0, 0.0, 1000.0, 0.0):
        transfer._pause(module._Transient("busy", wait))
    assert pauses == [1, 2, 4, 10, 16, 30, 30]


def test_a_refusal_is_not_asked_again(site: Site, tmp_path: Path) -> None:
    site.fail("cat", status(403), method="HEAD")
    with pytest.raises(OSError, match=r"^cat: HTTP 403 Forbidden: http://.*/cat\.ndjson$"):
        download(["cat"], tmp_path, base_url=site.url)
    assert len(site.asked) == 1


def test_a_missing_file_suggests_near_ones(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^smily_face: HTTP 404 .*smily_face\.ndjson \(did you mean 'smiley face'"):
        download(["smily_face"], tmp_path, base_url=site.url)
    with pytest.raises(DataError, match=r"^owl: HTTP 404 Not Found: http://.*/owl\.ndjson$"):
        download(["owl"], tmp_path, base_url=site.url)


def test_nobody_listening(tmp_path: Path, site: Site) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
    with pytest.raises(
        ConnectionError, match=rf"^cat: .*refused.* \(tried 2x\): http://127\.0\.0\.1:{port}/cat\.ndjson$"
    ):
        download(["cat"], tmp_path, base_url=f"http://127.0.0.1:{port}", retries=1)


def test_a_silent_server_counts_as_dropped(site: Site, tmp_path: Path) -> None:
    done = threading.Event()

    def stall(handler: Handler, data: bytes) -> None:
        handler.send(data, limit=100_000)
        handler.wfile.flush()
        done.wait(30)

    site.fail("cat", stall)
    try:
        download(["cat"], tmp_path, base_url=site.url, timeout=0.2)
    finally:
        done.set()
    check(tmp_path, "cat")
    assert site.gets("cat") == [None, "bytes=100000-"]


def test_others_are_fetched_when_some_fail(site: Site, tmp_path: Path) -> None:
    del site.files["dog"]
    with pytest.raises(DataError, match=r"^dog: HTTP 404"):
        download(["dog", "cat", "smiley face"], tmp_path, base_url=site.url, jobs=1)
    check(tmp_path, "cat", "smiley face")
    with pytest.raises(DataError, match=r"^2 of 4 classes failed: owl, dog; the first: owl: HTTP 404") as error:
        download(["owl", "dog", "cat", "smiley face"], tmp_path, base_url=site.url)
    assert "\n" not in str(error.value)
    site.fail("cat", status(403), method="HEAD")
    with pytest.raises(OSError, match=r"^2 of 3 classes failed: dog, cat; the first: dog: HTTP 404"):
        download(["dog", "cat", "smiley face"], tmp_path, base_url=site.url)


def test_of_many_that_fail_a_few_are_named(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^8 of 8 classes failed: 0, 1, 2, 3, 4, …; the first: 0: HTTP 404"):
        download(map(str, range(8)), tmp_path, base_url=site.url)


def test_a_server_that_is_down_costs_the_patience_once(site: Site, tmp_path: Path) -> None:
    names = ["a", "b", "cat", "c"]
    site.files |= {"a": b"a", "b": b"b", "c": b"c"}
    for name in ("a", "b", "c"):
        site.fail(name, *[status(503)] * 9, method="HEAD")
    with pytest.raises(OSError, match=r"^3 of 4 classes failed: a, b, c; the first: a: HTTP 503 .*tried 3x"):
        download(names, tmp_path, base_url=site.url, jobs=1, retries=2)
    assert [name for method, name, _ in site.asked if method == "HEAD"] == [*"aaab", "cat", *"ccc"]
    check(tmp_path, "cat")


def test_compressed_answers_are_refused(site: Site, tmp_path: Path) -> None:
    def compressed(handler: Handler, data: bytes) -> None:
        assert handler.headers["Accept-Encoding"] == "identity"
        handler.send(data, extra={"Content-Encoding": "gzip"})

    site.fail("cat", compressed, method="HEAD")
    with pytest.raises(DataError, match="cat: the server compresses the file, which is not supported: http://"):
        download(["cat"], tmp_path, base_url=site.url)


def test_a_size_has_to_be_stated(site: Site, tmp_path: Path) -> None:
    def unsized(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()

    site.fail("cat", unsized, method="HEAD")
    with pytest.raises(DataError, match="cat: the server does not send the file's size: http://"):
        download(["cat"], tmp_path, base_url=site.url)


def test_proxies_from_the_environment(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.url.removesuffix("/full/simplified"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download(["smiley face"], tmp_path, base_url="http://nowhere.invalid/data")
    check(tmp_path, "smiley face")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["catt"], r"^unknown class 'catt' \(did you mean 'cat' or "),
        (["cat", "Eiffel tower", "xqzv"], r"unknown class 'Eiffel tower' \(did you mean 'The Eiffel Tower'.*; 'xqzv'$"),
        (["Smiley_Face"], r"did you mean 'smiley face'"),
        ([], "^no classes to download$"),
    ],
)
def test_unknown_classes_are_told_before_the_network_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], message: str
) -> None:
    monkeypatch.setattr(module, "open_url", lambda *args, **kwargs: pytest.fail("asked the network"))
    for base_url in (DEFAULT_URL, DEFAULT_URL + "/"):
        with pytest.raises(DataError, match=message):
            download(names, tmp_path / "out", base_url=base_url)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../cat", "a/b", "a\\b", "a\0b", "a\nb", "C:cat"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"^not a class name: "):
        download([name], tmp_path, base_url="http://127.0.0.1:9")


def test_other_arguments_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an http or https URL: file:///tmp"):
        download(["cat"], tmp_path, base_url="file:///tmp")
    with pytest.raises(DataError, match="jobs must be 1 or more, not 0"):
        download(["cat"], tmp_path, jobs=0)
    with pytest.raises(DataError, match=r"^cat: .*contain control characters"):
        download(["cat"], tmp_path, base_url="http://127.0.0.1:9/a b")


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_full_disk(site: Site, tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, hard))
    try:
        with pytest.raises(OSError, match=r"cat\.ndjson\.part") as error:
            download(["cat"], tmp_path, base_url=site.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert len(site.gets("cat")) == 1
    assert left(tmp_path) == {"cat.ndjson.part", "cat.ndjson.part.json"}
    download(["cat"], tmp_path, base_url=site.url)
    assert site.gets("cat")[1] == "bytes=100001-"
    check(tmp_path, "cat")


def test_ctrl_c_keeps_what_has_arrived(site: Site, tmp_path: Path) -> None:
    done = threading.Event()
    part = tmp_path / "cat.ndjson.part"

    def interrupt(handler: Handler, data: bytes) -> None:
        handler.send(data, limit=100_000)
        handler.wfile.flush()
        while not (part.exists() and part.stat().st_size == 100_000):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)
        done.wait(30)
        handler.wfile.write(data[100_000:])

    site.fail("cat", interrupt)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        download(["cat", "dog", "smiley face"], tmp_path, base_url=site.url, jobs=1)
    # The worker waits for a silent server, as a daemon; whatever arrives later, it writes no more.
    workers = [t for t in threading.enumerate() if t not in before and "worker" in t.name]
    assert all(t.daemon for t in workers)
    done.set()
    for thread in workers:
        thread.join(30)
        assert not thread.is_alive()
    assert left(tmp_path) == {part.name, part.name + ".json"}
    assert part.read_bytes() == DATA["cat"][:100_000]
    assert json.loads((tmp_path / "cat.ndjson.part.json").read_text())["size"] == len(DATA["cat"])
    assert site.gets("dog") == []
    download(["cat"], tmp_path, base_url=site.url)
    check(tmp_path, "cat")


# ---- servers that mean harm ----


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 19, "-5", "٣", "1e3", "+5", " ", "0x10"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_sizes_that_are_none(site: Site, tmp_path: Path, length: str, method: str) -> None:
    def fault(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", length.encode().decode("latin-1"))
        handler.end_headers()

    site.fail("cat", fault, method=method)
    with pytest.raises(DataError, match=r"^cat: the server does not send the file's size: http://"):
        download(["cat"], tmp_path, base_url=site.url, retries=0)


@pytest.mark.parametrize(
    "location",
    [
        *("http://[::1", "http://[", "//[::1", "http://a:b:c/", "http://127.0.0.1:99999999/", "http://127.0.0.1:x/"),
        *(
            "ftp://127.0.0.1/cat.ndjson",
            "file:///etc/passwd",
            "data:text/plain,x",
            "javascript:1",
            "http://" + "a" * 300,
        ),
        *("http://\udcff/", "http://\x1b[31m/"),
    ],
)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_redirects_that_lead_nowhere(
    site: Site, tmp_path: Path, location: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    latin = location.encode("utf-8", "surrogateescape").decode("latin-1")
    site.fail("cat", *[status(302, Location=latin)] * 2, method=method)
    command = ["download", "cat", "--out", str(tmp_path), "--base-url", site.url, "--retries", "0"]
    assert cli.main(command) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qdfast download: error: cat: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


def test_redirects_to_another_scheme_name_it(site: Site, tmp_path: Path) -> None:
    site.fail("cat", status(302, Location="ftp://127.0.0.1/cat.ndjson"), method="HEAD")
    with pytest.raises(
        DataError, match=r"^cat: the server redirects from http to another scheme: ftp://127\.0\.0\.1/cat"
    ):
        download(["cat"], tmp_path, base_url=site.url)
    assert len(site.asked) == 1
    with pytest.raises(DataError, match="another scheme"):
        connection._target("https://a/b", "http://a/b")
    assert connection._target("http://a/b", "https://a/c d") == "https://a/c%20d"


def test_redirects_are_followed(site: Site, tmp_path: Path) -> None:
    """Relative and absolute ones, in HEAD and in GET, and with the header for ranges."""
    other = site.url.rpartition("/")[2]
    for method in ("HEAD", "GET"):
        to = (status(301, Location="dog.ndjson"), status(308, Location=f"{site.url}/../{other}/smiley face.ndjson"))
        site.fail("cat", to[0], to[0], method=method)
        site.fail("dog", to[1], to[1], method=method)
    site.fail("smiley face", cut(1000))
    (path,) = download(["cat"], tmp_path, base_url=site.url)
    assert path.read_bytes() == DATA["smiley face"]
    assert site.gets("smiley face") == [None, "bytes=1000-"]


def test_redirects_in_a_circle(site: Site, tmp_path: Path) -> None:
    site.fail("cat", *[status(302, Location="cat.ndjson")] * 99, method="HEAD")
    with pytest.raises(DataError, match="cat: more than 10 redirects: http://"):
        download(["cat"], tmp_path, base_url=site.url)
    assert len(site.asked) == 11


def test_the_body_of_a_redirect_is_not_read(site: Site, tmp_path: Path) -> None:
    broken: list[str] = []

    def endless(handler: Handler, data: bytes) -> None:
        handler.send_response(302)
        handler.send_header("Location", "dog.ndjson")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(10_000):
                handler.wfile.write(bytes(1 << 16))
            broken.append("all of it was read")

    site.fail("cat", endless)
    site.fail("cat", status(302, Location="dog.ndjson"), method="HEAD")
    (path,) = download(["cat"], tmp_path, base_url=site.url)
    assert path.read_bytes() == DATA["dog"]
    assert broken == []


@pytest.mark.parametrize("grows", [True, False])
def test_a_file_that_changes_for_ever_is_given_up(site: Site, tmp_path: Path, grows: bool) -> None:
    def change(handler: Handler, data: bytes) -> None:
        handler.send(data, limit=len(data) - 1)
        site.files["cat"] = (data + bytes(10_000)) if grows else os.urandom(len(data))

    site.fail("cat", *[change] * 1000)
    with pytest.raises(DataError, match=r"^cat: the server's file keeps changing during the download: http://"):
        download(["cat"], tmp_path, base_url=site.url, retries=50)
    assert len(site.gets("cat")) < 20


def test_a_byte_an_attempt_is_given_up(site: Site, tmp_path: Path) -> None:
    site.fail("cat", *[cut(1)] * 1000)
    with pytest.raises(ConnectionError, match=r"cat: connection closed after 4 of 300000 bytes \(tried 4x\)"):
        download(["cat"], tmp_path, base_url=site.url, retries=3)


def trickle(head: bytes, byte: bytes = b"x") -> Fault:
    """Send ``head``, then a byte now and then for ever."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.close_connection = True
        begun = time.monotonic()
        try:
            handler.wfile.write(head)
            while time.monotonic() < begun + 30:
                handler.wfile.write(byte)
                time.sleep(0.02)
        except OSError:
            return

    return fault


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", r"no response within 0\.4 s"),
        (b"HTTP/1.1 200 OK\r\nX: ", r"no response within 0\.4 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", r"only \d+ bytes in \d s"),
    ],
)
def test_a_server_that_trickles_is_given_up(site: Site, tmp_path: Path, head: bytes, said: str) -> None:
    site.fail("cat", *[trickle(head)] * 100)
    begun = time.monotonic()
    with pytest.raises(ConnectionError, match=rf"^cat: {said} \(tried 2x\): http://"):
        download(["cat"], tmp_path, base_url=site.url, retries=1, timeout=0.4)
    assert time.monotonic() - begun < 20


def test_a_server_that_says_continue_for_ever_is_given_up(site: Site, tmp_path: Path) -> None:
    site.fail("cat", *[trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)] * 100)
    with pytest.raises(ConnectionError, match=r"^cat: no response within 0\.4 s \(tried 1x\): http://"):
        download(["cat"], tmp_path, base_url=site.url, retries=0, timeout=0.4)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://[", "https://[::1/x", "http://a:b/", "http:///", "http://\udcff/"]
)
def test_base_urls_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert cli.main(["download", "cat", "--out", str(tmp_path), "--base-url", url, "--retries", "0"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("qdfast download: error: ")
    assert err.count("\n") == 1


def test_what_the_server_says_is_printable(site: Site, tmp_path: Path) -> None:
    def fault(handler: Handler, data: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 403 \x1b]0;gotcha\x07\x9b31m\r\nContent-Length: 0\r\n\r\n")

    site.fail("cat", fault, method="HEAD")
    with pytest.raises(OSError, match=r"^cat: HTTP 403 \\x1b\]0;gotcha\\x07\\x9b31m: http://"):
        download(["cat"], tmp_path, base_url=site.url)
