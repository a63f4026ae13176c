"""What the workers of a test do; cheap to import, as each of them does."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path


def write_config(out: str) -> int:
    config = json.loads(os.environ["TF_CONFIG"])
    (Path(out) / str(config["task"]["index"])).write_text(json.dumps(config["cluster"]["worker"]))
    return 0


def fail_second() -> int:
    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
    return 0
