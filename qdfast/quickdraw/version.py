"""Which version of a file a server has."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from .checksums import crc32c, md5


@dataclass(frozen=True)
class Version:
    """What a server states about a file; "" for what it does not."""

    size: int
    validator: str  # a strong ETag, else Last-Modified
    md5: str  # base64
    crc32c: str  # base64, big-endian

    @classmethod
    def stated(cls, headers: Message, size: int) -> Version:
        items = ",".join(headers.get_all("x-goog-hash", [])).split(",")
        hashes = dict(item.strip().split("=", 1) for item in items if "=" in item)
        etag = headers.get("ETag", "")
        validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
        return cls(size, validator, hashes.get("md5", ""), hashes.get("crc32c", ""))

    def describes(self, path: Path) -> bool:
        """Whether the file has this size and hash; of the hashes stated, md5 is looked at first."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.md5:
            return base64.b64encode(md5(path)).decode() == self.md5
        if self.crc32c:
            return base64.b64encode(crc32c(path).to_bytes(4, "big")).decode() == self.crc32c
        return True
