"""Reads drawings in any format that qdfast knows."""

from __future__ import annotations

from collections.abc import Sequence

from ..bitmaps import AnyDrawings, concat_any
from ..formats.bitmap_files import read_bitmap_file
from ..ndjson import read_ndjson
from ..storage.names import OnError, Recognized
from ..storage.source_files import Source, SourceFile, expand


def read(
    source: Source | Sequence[Source],
    *,
    recognized: Recognized = "only",
    on_error: OnError = "count",
    raw: bool = False,
    threads: int | None = None,
) -> AnyDrawings:
    """Read drawings from files of any format, or bitmaps.

    Unlike ``read_ndjson``, it also reads bitmaps, and gives drawings without a word the class that the name of their
    file stands for.

    Args:
        source: a path, a directory, a tar or zip archive, an open binary file, or a list of these. The arguments are
            those of ``read_ndjson``.

    Returns:
        The drawings, in order: ``Bitmaps`` if the files hold bitmaps or pictures, else ``Drawings``.

    Raises:
        ParseError, DataError, OSError: as for ``read_ndjson``; DataError also for strokes and bitmaps together.

    >>> import pathlib, qdfast, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory, "dash.csv")
    ...     _ = path.write_text('drawing,recognized\\n"[[[0, 9], [4, 4]]]",True\\n')
    ...     qdfast.read(path).word.tolist()
    ['dash']
    """

    def one(file: SourceFile) -> AnyDrawings:
        if file.kind == "bitmaps":
            return read_bitmap_file(file)
        found = read_ndjson(file, recognized=recognized, on_error=on_error, raw=raw, threads=threads)
        return found if any(found.words) else found.with_word(file.label)

    return concat_any([one(file) for file in expand(source, bitmaps=True)])
