"""Where the repository and the tests lie."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent


def python_path(*folders: Path) -> str:
    """$PYTHONPATH of a child process that imports the package and the helpers of the tests, and modules of ``folders``."""
    inherited = [path for path in [os.environ.get("PYTHONPATH")] if path]
    return os.pathsep.join([*map(str, folders), str(TESTS), *inherited, str(ROOT)])
