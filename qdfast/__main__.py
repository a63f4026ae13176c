"""`python -m qdfast` is `qdfast`."""

import sys

from .cli import main

sys.exit(main())
