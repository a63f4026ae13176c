"""The examples of a Markdown page: its fenced blocks, run in the order in which a reader would run them."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from paths import ROOT, python_path

_FENCE = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = 300
_PORTS = ("8500", "8501")


class Block(NamedTuple):
    """A fenced block; ``skipped`` if a comment before it says why it is not run."""

    language: str
    source: str
    line: int
    skipped: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(match[2], match[3], text[: match.start(3)].count("\n") + 1, match[1] is not None)
        for match in _FENCE.finditer(text)
    ]


def _free_ports(count: int) -> list[str]:
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(s.getsockname()[1]) for s in sockets]


class Reader:
    """Runs pages in the current directory, as somebody would who copies their blocks.

    Blocks of sh run by bash, which stops at the first error. Blocks of Python share their variables. Blocks of js run by
    Node, where it is installed. The ports of the examples are replaced by free ones.
    """

    def __init__(self, tools: Path) -> None:
        for name, command in (("qdfast", "-m qdfast"), ("python", "")):
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
            tool.chmod(0o755)
        self._environment = {
            **{k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
            "PATH": os.pathsep.join([str(tools), os.environ["PATH"]]),
            "PYTHONPATH": python_path(),
            "NO_PROXY": "*",
        }
        self._variables: dict[str, Any] = {"__name__": "__main__"}
        self._ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self._groups: list[int] = []

    def read(self, page: Path) -> int:
        """Run the blocks of ``page``, and return their number."""
        done = 0
        for block in blocks(page):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            source = block.source
            for port, free in self._ports.items():
                source = source.replace(port, free)
            if block.skipped or block.language not in ("sh", "python", "js"):
                continue
            if block.language == "sh":
                self._run(["bash", "-eu", "-c", source], where)
            elif block.language == "js":
                if node := shutil.which("node"):
                    self._run([node, "--input-type=module", "--eval", source], where)
            elif ">>>" in source:
                self._check(source, where, block.line)
            else:
                exec(compile("\n" * (block.line - 1) + source, where, "exec"), self._variables)
            done += 1
        return done

    def _run(self, command: list[str], where: str) -> None:
        # Output goes to a file: a server in the background would keep a pipe open.
        log = Path("output.txt")
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=self._environment, start_new_session=True
            )
            self._groups.append(process.pid)
            status = process.wait(_SECONDS)
        assert status == 0, f"{where}: status {status}\n{command[-1]}\n{log.read_text()}"

    def _check(self, source: str, where: str, line: int) -> None:
        test = doctest.DocTestParser().get_doctest(source, self._variables, where, where, line - 1)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        said: list[str] = []
        runner.run(test, out=said.append, clear_globs=False)
        self._variables.update(test.globs)
        assert not runner.failures, "".join(said)

    def close(self) -> None:
        """End what the pages have started in the background."""
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGTERM)
            except ProcessLookupError:
                continue


@contextmanager
def reader(tools: Path) -> Iterator[Reader]:
    tools.mkdir()
    one = Reader(tools)
    try:
        yield one
    finally:
        one.close()
