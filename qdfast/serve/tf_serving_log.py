"""What users see of the log of ``tensorflow_model_server``: its errors, one line each, and each once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# "2026-01-31 12:00:00.123: E tensorflow_serving/util/retrier.cc:37] text", or "E0131 12:00:00.123456 7 file.cc:1] text"
_LOG_LINE = re.compile(r"(?:\d{4}-\d\d-\d\d \S+: )?([IWEF])(?:\d{4} \S+ +\d+)? (\S+?):\d+\] (.*)")
_LIBRARIES = ("tensorflow/", "external/", "xla/", "tsl/")  # their errors include that there is no GPU
_MAX_REMEMBERED = 1000


def readable_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that matter of the output of ``tensorflow_model_server``.

    Of the log these are errors, and warnings about models, without time and source. Lines that continue a message, such
    as the names of graph nodes, are left out, and so is a message that has been yielded before: the server repeats its
    errors whenever it looks at the directories. What is not of the log is yielded as it is.
    """
    seen: set[str] = set()
    in_message = False
    for line in lines:
        line = line.rstrip("\n")
        match = _LOG_LINE.match(line)
        if match is None:
            if not (in_message and (not line or line[0].isspace())):
                in_message = False
                yield line
            continue
        in_message = True
        level, source, text = match.groups()
        matters = level == "F" or (level == "E" and not source.startswith(_LIBRARIES))
        if not matters and not (level == "W" and "servable" in text):
            continue
        if text in seen:
            continue
        if len(seen) == _MAX_REMEMBERED:
            seen.clear()
        seen.add(text)
        yield f"tensorflow_model_server: {text}"
