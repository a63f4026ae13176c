"""JSON files that end with a digest of their content, so that no change of them stays unseen.

The digest is XXH3 (128 bits) of all bytes before it. Files of earlier versions have none, and are read as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
import xxhash

_DIGEST = re.compile(rb',\n  "digest": "([0-9a-f]{32})"\n\}\n?\Z')
_LONGEST = 64  # bytes that the above matches, at most


def dump(value: Mapping[str, Any]) -> bytes:
    """The object ``value``, which is not empty and has no key "digest", as JSON with a digest."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).removesuffix(b"\n}")
    return text + b',\n  "digest": "' + xxhash.xxh3_128_hexdigest(text).encode() + b'"\n}\n'


def without_digest(text: bytes) -> bytes:
    """What ``dump`` was given, as JSON; ``text`` itself if it has no digest. ValueError: it was changed."""
    found = _DIGEST.search(text, max(len(text) - _LONGEST, 0))
    if found is None:
        return text
    content = text[: found.start()]
    if xxhash.xxh3_128_hexdigest(content).encode() != found[1]:
        raise ValueError("changed after it was written: its content does not have its digest")
    return content + b"\n}"


def load(text: bytes) -> Any:
    """The value of JSON with a digest, or of JSON of an earlier version. ValueError: not JSON, or it was changed."""
    value = orjson.loads(without_digest(text))
    if isinstance(value, dict) and "digest" in value:  # at another place, or not of this form
        raise ValueError("changed after it was written: its digest is not where it was")
    return value
