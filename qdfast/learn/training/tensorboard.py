"""Writes the metrics of a run for TensorBoard: ``tensorboard --logdir RUNS``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ...storage.files import replacing

DIRECTORY = "tensorboard"

_TAGS = {
    "loss": "loss/training",
    "val_loss": "loss/validation",
    "top1": "top-1/training",
    "val_top1": "top-1/validation",
    "val_top3": "top-3/validation",
    "learning_rate": "learning rate",
    "drawings_per_s": "drawings a second",
}


def write_events(run: Path, history: list[dict[str, Any]]) -> None:
    """Write one file for each epoch that has none yet. Does nothing if ``tensorboard`` is not installed.

    TensorBoard reads the files of a directory in the order of their names. With one file per epoch, no file is
    ever appended to, and a resumed run repeats no epoch.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        return
    directory = run / DIRECTORY
    directory.mkdir(exist_ok=True)
    for epoch in history:
        path = directory / f"events.out.tfevents.{epoch['epoch']:010d}.qdfast"
        if path.exists():
            continue
        values = [Summary.Value(tag=tag, simple_value=epoch[name]) for name, tag in _TAGS.items() if name in epoch]
        now = time.time()
        events = [
            Event(wall_time=now, file_version="brain.Event:2"),
            Event(wall_time=now, step=epoch["epoch"], summary=Summary(value=values)),
        ]
        with replacing(path) as temporary, temporary.open("wb") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
