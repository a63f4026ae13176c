"""`qdfast info --verify`: compare what qdfast wrote with the digests that it recorded."""

from __future__ import annotations

from pathlib import Path

from ..dataset.prepared import Prepared
from ..errors import DataError
from ..storage.directories import MODEL, PREPARED, RUN, VERSION, contents_of, versions_in
from ..storage.model_info import check_model
from ..storage.progress import counted

_NONE = "no digests were recorded, by an earlier version of qdfast"


def verified(path: Path) -> str:
    """Verify prepared data, a run or a model.

    Returns:
        What was found to be as it was written.

    Raises:
        DataError: something else, or damaged.
        OSError: a file is missing.
    """
    kind = contents_of(path)
    if kind == PREPARED:
        return _prepared(Prepared(path))
    if kind == RUN:
        return _run(path)
    if kind in (MODEL, VERSION):
        versions = [path] if kind == VERSION else [path / str(number) for number in versions_in(path)]
        known = [version.name for version in versions if check_model(version)]
        if not known:
            return _NONE
        without = [version.name for version in versions if version.name not in known]
        return f"version {', '.join(known)}" + (f"; {', '.join(without)}: {_NONE}" if without else "")
    raise DataError(f"{path}: --verify is for prepared data, runs and models: nothing else has digests")


def _prepared(data: Prepared) -> str:
    unknown, count = data.verify(), len(data.shard_paths)
    if not unknown:
        return f"all bytes of {counted(count, 'shard')}"
    return (
        f"all bytes of {count - unknown:,} of {counted(count, 'shard')}; of the others {_NONE}: only their sizes, "
        "counts, offsets and splits were checked"
    )


def _run(path: Path) -> str:
    from ..learn.training.runs import check_run

    checked = check_run(path)
    return f"run.json and {', '.join(checked)}" if checked else f"run.json; of the weights {_NONE}"
