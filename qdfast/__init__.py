"""qdfast: stroke drawings (Quick, Draw! ndjson) to trained and served models, with the preprocessing in C."""

from typing import TYPE_CHECKING, Any

try:
    from . import _core as _core
except ImportError:
    from ._hints import check_built

    check_built()
    raise

from .bitmaps import Bitmaps, read_bitmaps
from .dataset.prepared import Prepared, open_prepared
from .dataset.read import read
from .dataset.rows import Rows
from .drawings import Drawings, concat
from .errors import DataError, Error, ParseError, ServingError
from .ndjson import format_ndjson, iter_ndjson, parse_ndjson, read_ndjson
from .parse_report import ParseReport
from .stats import DeltaStats
from .strokes import from_strokes, simplify

if TYPE_CHECKING:
    from .classifier import Classifier

__all__ = [
    "Bitmaps",
    "Classifier",
    "DataError",
    "DeltaStats",
    "Drawings",
    "Error",
    "ParseError",
    "ParseReport",
    "Prepared",
    "Rows",
    "ServingError",
    "concat",
    "format_ndjson",
    "from_strokes",
    "iter_ndjson",
    "open_prepared",
    "parse_ndjson",
    "read",
    "read_bitmaps",
    "read_ndjson",
    "simplify",
]

__version__: str
"""As it is installed; looked up when first asked for."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("qdfast")
    if name == "Classifier":
        from .classifier import Classifier

        return Classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
