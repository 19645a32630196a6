"""What was measured of the same images among others is not measured again; what only looks like them is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seasoning.data import Samples
from seasoning.evaluation import measure as measuring
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.measure import measure, measurement
from seasoning.evaluation.reuse import take_over
from seasoning.models import PixelClassifier
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.store.database import Store


KEY = ModelKey.of(["robust"], [1.0])


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids that were evaluated."""
    seen: list[int] = []

    def counted(model: PixelClassifier, samples: Samples, **options: object) -> object:
        seen.extend(samples.ids.tolist())
        return evaluate(model, samples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "evaluate", counted)
    return seen


def measured(store: Store, model: PixelClassifier, samples: Samples, key: ModelKey = KEY, seed: int = 0) -> Outcomes:
    asked = measurement(key, samples, threat=None, attack=None, seed=seed, smoke=False)
    take_over(store, asked, samples)
    return measure(store, key, lambda: model, samples, threat=None, attack=None, seed=seed, smoke=False)


def test_fewer_and_more_of_the_same_images(
    few: Samples, robust_model: PixelClassifier, tmp_path: Path, looked_at: list[int]
) -> None:
    some, most = few.take(torch.arange(3, 9), few.name), few.take(torch.arange(0, 20), few.name)
    with Store(tmp_path / "a.sqlite") as store:
        measured(store, robust_model, some)
        more = measured(store, robust_model, most)
        assert sorted(looked_at) == sorted(most.ids.tolist())
        looked_at.clear()
        # All at once are the same as one after the other, and a part of what is there takes no model.
        whole = evaluate(robust_model, few)
        assert more.columns().keys() == whole.columns().keys()
        assert np.array_equal(more.clean, whole.clean[np.isin(whole.ids, more.ids)])
        assert np.array_equal(measured(store, None, some).ids, np.sort(some.ids.numpy()))  # type: ignore[arg-type]
        assert measured(store, None, few.take(torch.arange(5, 12), few.name)) is not None  # type: ignore[arg-type]
        assert looked_at == []
        # What they took goes with them.
        passes: dict[str, int] = {}
        for mark, header in store.headers():
            passes[mark] = passes.get(mark, 0) + header["forwards"]
        assert [*passes.values()] == [6, 20, 7]


def test_another_image_label_model_or_seed_is_measured(
    few: Samples, robust_model: PixelClassifier, tmp_path: Path, looked_at: list[int]
) -> None:
    some = few.take(torch.arange(6), few.name)
    with Store(tmp_path / "a.sqlite") as store:
        measured(store, robust_model, few)
        changed = replace(some, x=some.x.clone(), y=some.y.clone())
        changed.x[2, 0, 0, 0] = 1 - changed.x[2, 0, 0, 0]
        changed.y[4] = (changed.y[4] + 1) % 10
        looked_at.clear()
        measured(store, robust_model, changed)
        assert looked_at == sorted([some.ids[2].item(), some.ids[4].item()])
        for others in ({"key": ModelKey.of(["nominal"], [1.0])}, {"seed": 1}):
            looked_at.clear()
            measured(store, robust_model, some, **others)
            assert sorted(looked_at) == sorted(some.ids.tolist())
