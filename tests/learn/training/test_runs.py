"""The run directory: what a stranger finds in it, and that being killed at any file operation loses nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from earlier_versions import run_without_digests

from qdfast.errors import DataError
from qdfast.learn.training.history import (
    FIGURES,
    Epoch,
    best_epoch,
    check_weights,
    checkpoint_path,
    commit,
    finalize_run,
    read_history,
)
from qdfast.learn.training.runs import check_run, load_run, start_run
from qdfast.storage.files import remove_temporaries

INFO: dict[str, Any] = {
    "arguments": {"model": "stroke_lstm", "batch": 128, "seed": 42, "buckets": [64, 96]},
    "classes": ["cat", "dog"],
    "stats": {"n": 2, "sum": [1, 2], "sum_sq": [3, 4]},
    "data": {"path": "/data", "digest": "a" * 64, "train": 10, "validation": 2},
    "parameters": 1234,
    "backend": "tensorflow",
    "versions": {"keras": "3"},
}


def figures(epoch: int, val_loss: float) -> Epoch:
    return dict.fromkeys(FIGURES, 0.5) | {"epoch": epoch, "val_loss": val_loss}


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    return {key: {**value, **sections[key]} if key in sections else value for key, value in INFO.items()}


def test_the_best_epoch_is_the_first_of_the_lowest() -> None:
    assert best_epoch([]) == 0
    assert best_epoch([figures(1, 0.5), figures(2, 0.3), figures(3, 0.3), figures(4, 0.4)]) == 2


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def dying(operation: Callable[..., object], countdown: Iterator[int]) -> Callable[..., object]:
    """A file operation that is the last when the countdown is at 0."""

    def may_die(*args: object, **options: object) -> object:
        if next(countdown, None) == 0:
            raise Killed
        return operation(*args, **options)

    return may_die


def finish_epoch(path: Path, losses: list[float]) -> None:
    """What training does at the end of the last of these epochs."""
    checkpoint_path(path, len(losses)).write_text(f"epoch {len(losses)}")
    commit(path, [figures(i + 1, loss) for i, loss in enumerate(losses)])


@pytest.mark.parametrize("losses", [[0.5], [0.5, 0.4], [0.5, 0.6], [0.5, 0.6, 0.3]])
def test_killed_at_any_file_operation_a_run_is_as_before_or_after_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: list[float]
) -> None:
    real: dict[str, Callable[..., object]] = {"replace": Path.replace, "unlink": Path.unlink}
    kill_at = 0
    while True:
        path = tmp_path / str(kill_at)
        path.mkdir()
        for n in range(1, len(losses)):
            finish_epoch(path, losses[:n])
        with monkeypatch.context() as m:
            countdown = iter(range(kill_at, -1, -1))
            for name, method in real.items():
                m.setattr(Path, name, dying(method, countdown))
            try:
                finish_epoch(path, losses)
                died = False
            except Killed:
                died = True

        history = read_history(path)
        assert len(history) in (len(losses) - 1, len(losses))
        assert not history or checkpoint_path(path, len(history)).read_text() == f"epoch {len(history)}"
        finalize_run(path, history)
        if len(history) < len(losses):  # the epoch is trained again
            finish_epoch(path, losses)
        assert (path / "best.keras").read_text() == f"epoch {best_epoch(read_history(path))}"
        assert json.loads((path / "history.json").read_text())["checkpoint"] == checkpoint_path(path, len(losses)).name
        assert [float(row["val_loss"]) for row in csv.DictReader((path / "log.csv").read_text().splitlines())] == losses
        remove_temporaries(path)
        names = {f.name for f in path.iterdir()}
        assert names - {"tensorboard"} == {
            "history.json",
            "log.csv",
            "best.keras",
            checkpoint_path(path, len(losses)).name,
        }
        if not died:
            assert kill_at >= 3
            return
        kill_at += 1


def test_start_run_explains_itself_and_is_found_again(tmp_path: Path) -> None:
    run = start_run(tmp_path, INFO)
    again = load_run(str(tmp_path))
    assert run == again
    assert start_run(tmp_path, INFO) == run
    assert again.classes == ("cat", "dog")
    assert again.stats.to_dict() == INFO["stats"]
    assert again.name == tmp_path.name
    assert again.history == []


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (changed(arguments={"batch": 64}), r"settings \(batch 128, not 64\): choose another --out, or delete it$"),
        (changed(data={"digest": "b" * 64}), r"settings \(data aaaaaaaaaaaa…, not bbbbbbbbbbbb…\): choose another"),
        (
            changed(arguments={"seed": 1, "buckets": []}),
            r"settings \(seed 42, not 1; buckets \[64, 96\], not \[\]\): choose another",
        ),
        ({**INFO, "backend": "jax"}, r"settings \(backend tensorflow, not jax\): choose another"),
    ],
)
def test_another_run_in_the_directory_is_named(tmp_path: Path, info: dict[str, Any], said: str) -> None:
    start_run(tmp_path, INFO)
    with pytest.raises(DataError, match=said):
        start_run(tmp_path, info)
    assert load_run(tmp_path).info == {"format": 1, **INFO}


def test_data_may_move(tmp_path: Path) -> None:
    start_run(tmp_path, INFO)
    assert start_run(tmp_path, changed(data={"path": "/elsewhere"})).info["data"]["path"] == "/data"


@pytest.mark.parametrize("name", ["thesis.tex", ".tmp-1-thesis.tex"])
def test_a_directory_of_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("years of work")
    with pytest.raises(DataError, match="not empty, and not a run"):
        start_run(tmp_path, INFO)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_run_killed_while_its_first_file_was_written_begins_again(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-run.json").write_text('{"form')
    assert start_run(tmp_path, INFO).history == []
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("epochs", [[{"epoch": 1}], [0.5], {}])
def test_a_history_without_its_figures_is_damaged(tmp_path: Path, epochs: Any) -> None:
    run = start_run(tmp_path, INFO)
    (tmp_path / "history.json").write_text(json.dumps({"format": 1, "epochs": epochs}))
    with pytest.raises(DataError, match=r"history\.json: damaged"):
        _ = run.history


def test_load_run_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such directory"):
        load_run(tmp_path / "absent")
    with pytest.raises(DataError, match=r"it has no run\.json"):
        load_run(tmp_path)
    for text, said in (("{", "damaged"), ('{"classes": []}', "damaged"), ('{"format": 99}', "has format 99")):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(DataError, match=said):
            load_run(tmp_path)


def test_a_run_without_an_epoch_has_no_model(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    with pytest.raises(DataError, match="no epoch of this run has finished"):
        start_run(tmp_path, INFO).load_model()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    info = changed(arguments={"max_len": 96, "recurrent_dropout": 0.0, "precision": "float32"})
    run = start_run(tmp_path, info)
    finish_epoch(tmp_path, [0.5])  # whose checkpoint is a line of text
    finish_epoch(tmp_path, [0.5, 0.6])
    with pytest.raises(DataError, match=r"best\.keras: cannot be loaded as stroke_lstm: "):
        run.load_model()
    (tmp_path / "best.keras").unlink()
    with pytest.raises(DataError, match=r"best\.keras: no such file"):
        run.load_model()


# ---- changed after it was written ----


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [('"dog"', '"cat"'), ('"seed": 42', '"seed": 43'), ('"n": 2', '"n": 3'), ('"format": 1', '"format":  1')],
)
def test_a_run_that_was_edited_is_refused(tmp_path: Path, old: str, new: str) -> None:
    start_run(tmp_path, INFO)
    edit(tmp_path / "run.json", old, new)
    for opened in (load_run, lambda path: start_run(path, INFO)):
        with pytest.raises(DataError, match=r"run\.json: .*changed after it was written"):
            opened(tmp_path)


def test_a_history_that_was_edited_is_refused(tmp_path: Path) -> None:
    start_run(tmp_path, INFO)
    finish_epoch(tmp_path, [0.5])
    edit(tmp_path / "history.json", '"val_loss": 0.5', '"val_loss": 0.4')
    with pytest.raises(DataError, match=r"history\.json: .*changed after it was written"):
        read_history(tmp_path)


def test_a_flipped_bit_of_a_run_is_found(tmp_path: Path) -> None:
    start_run(tmp_path, INFO)
    path = tmp_path / "run.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = load_run(tmp_path).info
        except DataError:
            continue
        assert {key: found[key] for key in INFO} == INFO  # the digest's own key


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["cat"] * 5},
        {"classes": []},
        {"classes": "cat"},
        {"classes": [1, 2]},
        {"classes": None},
        {"stats": {}},
        {"stats": None},
        {"stats": {"n": -1, "sum": [0, 0], "sum_sq": [0, 0]}},
        {"stats": {"n": 2, "sum": [9, 0], "sum_sq": [1, 0]}},
        {"stats": {"n": 2, "sum": [1, 2], "sum_sq": [10**9, 4]}},
        {"stats": {"n": "2", "sum": [1, 2], "sum_sq": [3, 4]}},
        {"stats": {"n": 2, "sum": [1], "sum_sq": [3, 4]}},
        {"arguments": None},
        {"arguments": {}},
        {"arguments": {"model": 5}},
        {"arguments": {"model": "stroke_lstm", "max_len": "x"}},
        {"arguments": {"model": "stroke_lstm", "max_len": 0}},
        {"arguments": {"model": "stroke_lstm", "buckets": [1.5]}},
        {"arguments": {"model": "stroke_lstm", "buckets": 5}},
        {"data": []},
        {"data": {"path": 5, "digest": "a"}},
        {"versions": 3},
    ],
)
def test_a_run_of_an_earlier_version_has_no_digest_but_valid_values(tmp_path: Path, change: dict[str, object]) -> None:
    start_run(tmp_path, INFO)
    run_without_digests(tmp_path)
    assert load_run(tmp_path).classes == ("cat", "dog")
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, **INFO, **change}))
    with pytest.raises(DataError, match=r"run\.json: damaged: ") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"val_loss": "x"}, {"val_loss": None}, {"seconds": True}, {"epoch": 2}, {"temperature": [1]}, {"loss": {}}],
)
def test_figures_are_numbers(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "history.json").write_text(json.dumps({"format": 1, "epochs": [{**figures(1, 0.5), **change}]}))
    with pytest.raises(DataError, match=r"history\.json: damaged: "):
        read_history(tmp_path)


def test_weights_have_digests(tmp_path: Path) -> None:
    run = start_run(tmp_path, INFO)
    finish_epoch(tmp_path, [0.5])
    finish_epoch(tmp_path, [0.5, 0.6])
    assert check_run(run.path) == ["checkpoint-0002.keras", "best.keras"]
    for name in check_run(run.path):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"E" + whole[1:])
        with pytest.raises(DataError, match=rf"{name}: damaged: its digest is"):
            check_weights(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: damaged: its digest is"):
            check_run(tmp_path)
        (tmp_path / name).write_bytes(whole)
    run_without_digests(tmp_path)
    assert check_run(run.path) == []
    finish_epoch(tmp_path, [0.5, 0.6, 0.7])  # an earlier version's run goes on
    assert check_run(run.path) == ["checkpoint-0003.keras"]
