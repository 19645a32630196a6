"""How many images go into the network of a run at a time: chosen once, kept, and told where memory forces fewer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from seasoning.checkpoints.load import State, save_state
from seasoning.commands import batch_sizes
from seasoning.commands.batch_sizes import BatchSizes
from seasoning.commands.evaluate import evaluate_sets
from seasoning.config.base import read_spec
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.run_record import BatchSizeNote, read_batch_sizes
from seasoning.config.search import make_plan
from seasoning.data import Samples
from seasoning.evaluation.batch_size import BatchSize
from seasoning.models import PixelClassifier
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.commands.searches import content, found


QUICK: dict[str, Any] = {"threats": [], "strategy": "uniform", "shots": 20, "others": 10, "ensemble": True}
SHAPE = "1x8x8"


def headers(folder: Path) -> list[BatchSize | None]:
    with Store(folder / STORE) as store:
        return [BatchSize.kept(header) for _, header in store.headers()]


def test_a_number_is_chosen_once_for_each_shape_and_kept(
    robust_model: PixelClassifier, few: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[int, ...], bool, int | None]] = []

    def chosen(model: object, x: Tensor, *, gradients: bool, memory: int | None) -> BatchSize:
        asked.append((tuple(x.shape), gradients, memory))
        return BatchSize(len(asked) + 2, 8)

    monkeypatch.setattr(batch_sizes, "choose_batch_size", chosen)
    said: list[str] = []
    free = replace(few, batch_size=None)
    wide = replace(free, x=free.x.repeat(1, 1, 1, 2))
    with Store(tmp_path / STORE) as store:
        sizes = BatchSizes(store, robust_model, 0.5, said.append)
        assert [sizes.of(each) for each in (free, free, wide, free)] == [(3, 8), (3, 8), (4, 8), (3, 8)]
        assert asked == [((2, 1, 8, 8), True, 2**29), ((2, 1, 8, 16), True, 2**29)]
        sizes.keep(free, BatchSize(1, 8))
        assert sizes.of(few) == (40, 40)
    with Store(tmp_path / STORE) as store:
        assert BatchSizes(store, robust_model, None, said.append).of(wide.take(few.ids >= 0, "others")) == (4, 8)
        assert read_batch_sizes(store)[SHAPE] == BatchSizeNote(size=1, wanted=8)
    assert len(asked) == 2
    assert said[-1] == "note: images in the model at a time: 1, since memory has no room for 8"


def test_a_search_keeps_its_number_and_goes_on_with_it(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, said = make_plan(content(files, **QUICK, memory=1e-6)), list[str]()
    found(plan, tmp_path, said)
    # A budget of 1 KiB has no room for more than one image.
    with Store(tmp_path / STORE) as store:
        note = read_batch_sizes(store)[SHAPE]
    assert note.size == 1 < note.wanted
    # The ensemble, whose members pass side by side, has a number of its own.
    assert {None if each is None else each.size for each in headers(tmp_path)} == {1}
    assert said.count(f"note: images in the model at a time: 1, since memory has no room for {note.wanted}") == 1
    before = len(headers(tmp_path))
    monkeypatch.setattr(batch_sizes, "choose_batch_size", None)
    # More of the same network has the same number, whatever is free now.
    found(make_plan(content(files, **QUICK | {"others": 30, "ensemble": False})), tmp_path)
    assert set(headers(tmp_path)[before:]) == {(1, note.wanted)}


def test_where_memory_runs_out_in_a_search_the_rest_of_it_takes_fewer(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = PixelClassifier.forward

    def planted(self: PixelClassifier, x: Tensor) -> Tensor:
        if len(x) > 5:
            raise MemoryError
        return forward(self, x)

    monkeypatch.setattr(PixelClassifier, "forward", planted)
    said: list[str] = []
    found(make_plan(content(files, **QUICK | {"ensemble": False})), tmp_path, said)
    with Store(tmp_path / STORE) as store:
        note = read_batch_sizes(store)[SHAPE]
    assert note.size <= 5 < note.wanted
    # The first warm-up has few images; from the first many on all are measured with the smaller number.
    sizes = headers(tmp_path)
    first = sizes.index(BatchSize(note.size, note.wanted))
    assert set(sizes[first:]) == {(note.size, note.wanted)}
    assert set(sizes[:first]) <= {(note.wanted, note.wanted)}
    assert len([line for line in said if "images in the model at a time" in line]) == 1


def test_an_evaluation_tells_where_memory_forces_fewer(robust_state: State, tmp_path: Path) -> None:
    checkpoint, notes = tmp_path / "net.safetensors", list[list[str]]()
    save_state(dict(robust_state), checkpoint, {})
    asked: dict[str, Any] = {"network": {"architecture": "resnet_small"}}
    for memory in (None, 1e-6):
        spec = read_spec(asked | {"memory": memory}, EvaluateSpec)
        (result,) = evaluate_sets(checkpoint, spec, tmp_path / str(memory), watch=lambda *given: None)
        notes.append([note for note in result.notes if "at a time" in note])
    assert notes[0] == []
    (size,) = set(headers(tmp_path / "None"))
    assert size is not None
    assert size.size == size.wanted
    assert set(headers(tmp_path / "1e-06")) == {(1, size.wanted)}
    assert notes[1] == [f"images in the model at a time: 1, since memory has no room for {size.wanted}"]
