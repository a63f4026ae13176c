"""`play` as HTTP: guesses, what it refuses and how, and what the page may show."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")

import tiny_model  # noqa: E402
from play_fixtures import site  # noqa: E402
from scripted_server import TIMEOUT, Scripted, answer  # noqa: E402

import qdfast  # noqa: E402
from qdfast import cli  # noqa: E402
from qdfast.dataset.prepare import prepare  # noqa: E402
from qdfast.errors import DataError  # noqa: E402
from qdfast.play import app, examples, middleware  # noqa: E402
from qdfast.serve import request_body  # noqa: E402

RAW = [[[10.5, 300.25, 123.0, 40], [20, 33.3, 250.75, 90]], [[5, 5], [8, 250]]]


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.server.stop(None).wait()


@pytest.fixture
def url(server: Scripted) -> Iterator[str]:
    with server.client(timeout=TIMEOUT) as client, site(client) as address:
        yield address


def guess(url: str, body: Any, **options: Any) -> Any:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"Content-Type": "application/json", **options.pop("headers", {})}
    return httpx.post(f"{url}/api/guess", content=content, headers=headers, timeout=TIMEOUT, **options)


# ---- the page ----


def test_the_page_is_whole_and_asks_nobody_else(url: str) -> None:
    """All that its files name is there, and nothing of another site's."""
    seen, left = set(), {""}
    while left:
        name = left.pop()
        seen.add(name)
        response = httpx.get(f"{url}/{name}")
        assert response.status_code == 200, name
        text = response.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.", text), name
        left |= set(re.findall(r'(?:src|href|from)[= ]"(?:\./)?([\w.-]+)"', text)) - seen
    assert seen >= {"", "style.css", "icon.svg", "main.js", "board.js", "guesser.js", "game.js", "results.js", "api.js"}
    assert seen - {""} == {file.name for file in app.PAGE.iterdir()} - {"index.html"}


def test_browsers_are_told_to_trust_nobody_else(url: str) -> None:
    for path in ("/", "/main.js", "/api/model", "/nothing"):
        headers = httpx.get(url + path).headers
        assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "unsafe" not in headers["Content-Security-Policy"]


def test_only_by_its_own_names(url: str) -> None:
    """A site whose name leads here (DNS rebinding) gets nothing."""
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::1", ""):
        response = httpx.get(f"{url}/api/model", headers={"Host": host})
        assert response.status_code in (400, 421), host
    for host in ("localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST"):
        assert httpx.get(f"{url}/api/model", headers={"Host": host}).status_code == 200, host
    assert middleware.allowed_hosts("0.0.0.0") is None
    assert "127.0.0.5" in (middleware.allowed_hosts("127.0.0.5") or ())


# ---- guesses ----


def test_a_guess_is_the_clients(url: str, server: Scripted) -> None:
    with server.client() as client:
        expected = client.predict(qdfast.simplify([RAW]), k=app.GUESSES)
    response = guess(url, {"drawing": RAW})
    assert response.status_code == 200
    assert [label for label, _ in response.json()["guesses"]] == expected.labels[0].tolist()
    assert np.allclose([share for _, share in response.json()["guesses"]], expected.scores[0])
    assert response.json()["version"] == 1


def test_what_there_is_to_play_with(url: str) -> None:
    assert httpx.get(f"{url}/api/model").json() == {"model": "tiny", "version": 1, "words": list(tiny_model.CLASSES)}


BAD = {
    "not JSON": (b"nonsense", 400, "not JSON"),
    "nothing": (b"", 400, "not JSON"),
    "cut off": (b'{"drawing":[[[1', 400, "not JSON"),
    "not UTF-8": (b'{"drawing":"\xff"}', 400, "not JSON"),
    "deep": (b"[" * 100_000, 400, "not JSON"),
    "NaN": (b'{"drawing":[[[NaN,1],[1,2]]]}', 400, "not JSON"),
    "infinite": (b'{"drawing":[[[1e999,1],[1,2]]]}', 400, "not JSON"),
    "no object": (b"[]", 422, "must be a JSON object"),
    "no drawing": ({}, 422, "must be a list of strokes"),
    "no points": ({"drawing": []}, 422, "no points"),
    "no lists": ({"drawing": [5]}, 422, "wrong shape"),
    "x alone": ({"drawing": [[[1, 2]]]}, 422, "wrong shape"),
    "different lengths": ({"drawing": [[[1, 2], [1]]]}, 422, "different lengths"),
    "text": ({"drawing": [[["a"], ["b"]]]}, 422, "not a finite number"),
    "null": ({"drawing": [[[None], [0]]]}, 422, "not a finite number"),
    "far away": ({"drawing": [[[1e9, 0], [0, 0]]]}, 422, "within ±1,000,000"),
    "a huge number": (b'{"drawing":[[[' + b"9" * 300 + b"],[0]]]}", 422, "within ±1,000,000"),
    "many points": ({"drawing": [[[1] * 10_001] * 2]}, 422, "10,001 points: a drawing may have at most 10,000"),
    "many strokes": ({"drawing": [[[1], [1]]] * 1_001}, 422, "1,001 strokes: a drawing may have at most 1,000"),
    "10 MB": ({"drawing": [[[1.25] * 1_000_000] * 2]}, 413, "more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_a_reason(url: str, name: str) -> None:
    body, status, reason = BAD[name]
    response = guess(url, body)
    assert response.status_code == status
    assert reason in response.json()["error"]
    assert guess(url, {"drawing": RAW}).status_code == 200


def test_the_longest_drawing_is_answered(url: str) -> None:
    rng = np.random.default_rng(0)
    longest = rng.uniform(
        0, 1000, (request_body.MAX_STROKES, 2, request_body.MAX_POINTS // request_body.MAX_STROKES)
    ).tolist()
    assert guess(url, {"drawing": longest}).status_code == 200


def test_other_methods_paths_and_types(url: str) -> None:
    assert httpx.get(f"{url}/api/guess").status_code == 405
    assert httpx.get(f"{url}/../app.py").status_code == 404
    assert httpx.get(f"{url}/%2e%2e/app.py").status_code == 404
    assert httpx.get(f"{url}/nothing").json() == {"error": "Not Found"}
    text = guess(url, {"drawing": RAW}, headers={"Content-Type": "text/plain"})
    assert (text.status_code, text.json()["error"]) == (415, "the body must be application/json")
    assert httpx.get(f"{url}/api/drawings").status_code == 422
    assert httpx.get(f"{url}/api/drawings", params={"word": "x" * 101}).status_code == 422


def test_a_body_that_does_not_come(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_SECONDS", 0.2)
    host, port = url.removeprefix("http://").split(":")
    head = f"POST /api/guess HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as slow:
        slow.sendall(head.encode() + b'{"drawing":')
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as gone:
        gone.sendall(head.encode() + b'{"drawing":')
    assert guess(url, {"drawing": RAW}).status_code == 200


def test_slow_bodies_keep_nobody_out(url: str) -> None:
    """More bodies than requests may be answered at once, each from an address of its own."""
    host, port = url.removeprefix("http://").split(":")
    head = f"POST /api/guess HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with ExitStack() as stack:
        for i in range(app.MAX_CONCURRENT + 10):
            source = (f"127.0.1.{i + 1}", 0)
            slow = stack.enter_context(socket.create_connection((host, int(port)), TIMEOUT, source_address=source))
            slow.sendall(head.encode() + b'{"drawing":')
        assert guess(url, {"drawing": RAW}).status_code == 200


def test_the_rate_limit_is_of_the_connections_address(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the headers say."""
    asked = [
        guess(url, b"nonsense", headers={"X-Forwarded-For": f"10.0.0.{i}", "Forwarded": f"for=10.0.0.{i}"}).status_code
        for i in range(3)
    ]
    assert asked == [400] * 3
    monkeypatch.setattr(middleware.RateLimiter, "acquire", lambda self, client: 0.0 if client != "127.0.0.1" else 1.0)
    assert guess(url, {"drawing": RAW}, headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 429


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_who_is_one_client(address: str, client: str) -> None:
    assert middleware._client({"client": (address, 1)}) == client
    assert middleware._client({"client": None}) == ""


def test_examples_that_vanish_are_no_traceback(server: Scripted, doodles: Path, tmp_path: Path) -> None:
    shutil.copy(doodles / "star.ndjson", tmp_path)
    with server.client() as client, site(client, examples=examples.Examples([tmp_path])) as url:
        (tmp_path / "star.ndjson").unlink()
        response = httpx.get(f"{url}/api/drawings", params={"word": "star"})
    assert (response.status_code, response.json()) == (
        500,
        {"error": "the drawings of this class can no longer be read"},
    )


@pytest.mark.slow
def test_a_hundred_clients_at_once(url: str, server: Scripted) -> None:
    """As many as may are answered, the others are told to come back, and the page stays alive."""
    refused, go_on = threading.Semaphore(0), threading.Event()

    def predict(request: Any, context: Any) -> Any:
        assert go_on.wait(TIMEOUT)
        return answer(request)

    server.predict = predict

    def ask(_: int) -> Any:
        response = guess(url, {"drawing": RAW})
        if response.status_code == 429:
            refused.release()
        return response

    with ThreadPoolExecutor(100) as clients:
        answers = clients.map(ask, range(100))
        for _ in range(100 - app.MAX_CONCURRENT):
            assert refused.acquire(timeout=TIMEOUT)
        go_on.set()
        responses = list(answers)
    assert {r.status_code for r in responses} == {200, 429}
    for r in responses:
        if r.status_code == 429:
            assert "try again" in r.json()["error"]
            assert int(r.headers["Retry-After"]) >= 1
    assert httpx.get(url).status_code == 200


def test_rate() -> None:
    now = 0.0
    rate = middleware.RateLimiter(10, 3, clock=lambda: now)
    assert [rate.acquire("a") for _ in range(3)] == [0, 0, 0]
    assert rate.acquire("a") == pytest.approx(0.1)
    assert rate.acquire("b") == 0
    now = 0.11
    assert rate.acquire("a") == 0
    assert rate.acquire("a") > 0
    now = 10
    assert [rate.acquire("a") for _ in range(4)][:3] == [0, 0, 0]
    assert len(rate) == 1  # b is forgotten


def test_many_other_clients_cost_no_memory() -> None:
    now = 0.0
    rate = middleware.RateLimiter(10, 3, clock=lambda: now)
    for i in range(1000):
        now += 0.1
        assert rate.acquire(str(i)) == 0
    assert len(rate) < 5


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back(url: str, server: Scripted) -> None:
    assert guess(url, {"drawing": RAW}).status_code == 200
    server.server.stop(None).wait()
    for response in (guess(url, {"drawing": RAW}), httpx.get(f"{url}/api/model")):
        assert response.status_code == 503
        assert "UNAVAILABLE" in response.json()["error"]
    port = int(server.target.rpartition(":")[2])
    again = Scripted(port)
    try:
        with again.client() as client:
            client.wait_ready(TIMEOUT)
        response = guess(url, {"drawing": RAW})
        for _ in range(100):  # the connection may not be there yet
            if response.status_code == 200:
                break
            response = guess(url, {"drawing": RAW})
        assert response.status_code == 200
    finally:
        again.server.stop(None).wait()


# ---- drawings to keep, and to show ----


def test_saved_drawings_can_be_prepared(url: str, tmp_path: Path) -> None:
    other = [[[1, 2, 3, 400], [5, 6, 7, 0]]]
    body = {
        "drawings": [
            {"drawing": RAW, "word": "cat", "recognized": True},
            {"drawing": other, "word": "ice cream", "recognized": False},
            {"drawing": RAW},
        ]
    }
    response = httpx.post(f"{url}/api/ndjson", json=body)
    assert response.status_code == 200
    saved = qdfast.parse_ndjson(response.content, recognized="any", on_error="raise")
    assert [list(map(np.ndarray.tolist, stroke)) for stroke in saved[1]] == [
        list(map(np.ndarray.tolist, stroke)) for stroke in qdfast.simplify([other])[0]
    ]
    assert saved.word.tolist() == ["cat", "ice cream", ""]
    assert saved.recognized.tolist() == [1, 0, 2]
    assert len(set(saved.key_id.tolist())) == 3
    assert saved.report is not None
    assert saved.report.via_orjson == 0  # as plain as Google's
    (tmp_path / "drawn.ndjson").write_bytes(response.content)
    options: dict[str, Any] = {"recognized": "any", "label": "word", "validation": 0, "max_rejects": 0.5}
    data = prepare(tmp_path / "drawn.ndjson", tmp_path / "data", **options)
    assert data.counts() == {"cat": 1, "ice cream": 1}


@pytest.mark.parametrize(
    "drawings",
    [
        *(None, [], [5], [{}], [{"drawing": RAW}] * 101, [{"drawing": RAW, "word": 5}]),
        *([{"drawing": RAW, "word": "x" * 101}], [{"drawing": RAW, "recognized": 1}], [{"drawing": [[[2e6], [0]]]}]),
    ],
)
def test_what_cannot_be_saved(url: str, drawings: Any) -> None:
    response = httpx.post(f"{url}/api/ndjson", json={"drawings": drawings})
    assert response.status_code == 422
    assert response.json()["error"]


def strokes_of(file: Path) -> list[Any]:
    return [orjson.loads(line)["drawing"] for line in file.read_bytes().splitlines()]


def test_examples_of_files_and_prepared_directories(doodles: Path, tmp_path: Path) -> None:
    prepare(doodles / "star.ndjson", tmp_path / "data", recognized="any")
    found = examples.Examples([doodles / "tree.ndjson", tmp_path / "data"])
    assert found.classes == ["star", "tree"]
    for word in found.classes:
        some, kind = found.sample(word, 7)
        assert (len(some), kind) == (7, "real")
        known = strokes_of(doodles / f"{word}.ndjson")
        assert all(drawing in known for drawing in some)
    assert len(found.sample("star", 1000)[0]) == 120
    recognized = [line for line in (doodles / "tree.ndjson").read_bytes().splitlines() if b'"recognized":true' in line]
    assert 0 < len(recognized) < 120
    assert len(found.sample("tree", 1000)[0]) == len(recognized)
    some, kind = found.sample("cat", 2)
    assert (len(some), kind) == (2, "procedural")
    assert found.sample("nothing of the kind", 2)[0] == []


def test_examples_need_drawings(tmp_path: Path) -> None:
    for content in (b"", b"nothing\n", b'{"word":"a","recognized":false,"drawing":[[[1,2],[3,4]]]}\n'):
        (tmp_path / "a.ndjson").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.ndjson: no drawings to show"):
            examples.Examples([tmp_path / "a.ndjson"])


def test_examples_cannot_be_bitmaps(bitmap_files: Path, tmp_path: Path) -> None:
    prepare(bitmap_files, tmp_path / "data")
    for source in (tmp_path / "data", bitmap_files):
        with pytest.raises(DataError, match="bitmaps"):
            examples.Examples([source])


def test_drawings_to_show(server: Scripted, doodles: Path) -> None:
    with server.client() as client, site(client, examples=examples.Examples([doodles])) as url:
        shown = httpx.get(f"{url}/api/drawings", params={"word": "star"}).json()
        assert shown["kind"] == "real"
        assert len(shown["drawings"]) == app.EXAMPLES


def test_words_that_a_model_names(server: Scripted) -> None:
    with server.client() as client:
        words = examples.probe_classes(client)
    assert set(words) <= set(tiny_model.CLASSES)
    assert len(words) >= tiny_model.K


# ---- the command ----


def exported(path: Path, classes: list[str]) -> Path:
    about = path / "assets.extra" / "qdfast.json"
    about.parent.mkdir(parents=True)
    about.write_bytes(orjson.dumps({"classes": classes}))
    return path


def test_the_newest_export(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no exported model in"):
        examples.newest_export(tmp_path)
    for i, path in enumerate(("b/9", "a/models/x/2", "a/models/y/1")):
        about = exported(tmp_path / path, [path]) / "assets.extra" / "qdfast.json"
        os.utime(about, ns=(i, i))
        assert examples.newest_export(tmp_path) == (tmp_path / path).parent
    exported(tmp_path / "a/models/x/10", ["newer"])
    assert examples.exported_classes(tmp_path / "a/models/x") == ["newer"]
    (tmp_path / "a/models/x/11").mkdir()
    assert examples.exported_classes(tmp_path / "a/models/x") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_the_command_ends_as_it_is_told(server: Scripted, doodles: Path, number: int) -> None:
    command = ["play", "--target", server.target, "--model", "tiny", "--data", str(doodles), "--port", "0"]
    process = subprocess.Popen([sys.executable, "-m", "qdfast", *command], stdout=-1, stderr=-1, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("play tiny at http://127.0.0.1:")
        url = line.split()[-1]
        assert httpx.get(f"{url}/api/model").json()["words"] == ["circle", "house", "ladder", "star", "tree", "zigzag"]
        assert guess(url, {"drawing": RAW}).status_code == 200
        process.send_signal(number)
        assert process.communicate(timeout=TIMEOUT) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()


@pytest.mark.slow
def test_a_server_that_does_not_answer_yet_is_said(server: Scripted) -> None:
    server.status = lambda request, context: context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        silent = f"127.0.0.1:{nobody.getsockname()[1]}"
    for target, model, said in (
        (silent, "tiny", f"no guesses yet: model 'tiny' at {silent}"),
        (server.target, "nix", f"no guesses yet: model 'nix' at {server.target}"),
    ):
        command = [sys.executable, "-m", "qdfast", "play", "--target", target, "--model", model, "--port", "0"]
        process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"play {model} at http://127.0.0.1:")
            process.terminate()
            _, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
        assert err.startswith(said)
        assert err.count("\n") == 1


def test_what_the_command_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, said in (
            (["--port", port, "--target", "127.0.0.1:1"], "cannot listen on 127.0.0.1"),
            (["--port", "0", "--target", "127.0.0.1:1", "--model-dir", str(tmp_path)], "not both"),
            (["--port", "0", "--model-dir", str(tmp_path)], "no model version found"),
            (["--port", "0", "--model-dir", str(tmp_path), "--data", str(tmp_path / "no")], "no such file"),
        ):
            assert cli.main(["play", *arguments]) == 1
            error = capsys.readouterr().err
            assert said in error
            assert error.count("\n") == 1
