from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from seasoning.attacks import apgd
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.evaluation import measure as measuring
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.measure import measure, measurement
from seasoning.models import PixelClassifier
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.store.database import Store
from seasoning.threat import Threat


def test_a_measurement_cut_between_blocks_goes_on_with_the_missing_samples(
    robust_model: PixelClassifier, few: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_BLOCK", 16)
    sizes: list[int] = []

    def counted(model: PixelClassifier, samples: Samples, **options: object) -> Outcomes:
        if len(sizes) == 2:
            sizes.append(0)
            raise KeyboardInterrupt
        sizes.append(len(samples))
        return evaluate(model, samples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "evaluate", counted)
    key = ModelKey.of(["aa"], [1.0])
    attack, threat = partial(apgd, steps=3), Threat("linf", 0.1)
    few = replace(few, batch_size=8)
    with Store(tmp_path / "a.sqlite") as store:
        ask = partial(measure, store, key, lambda: robust_model, few, threat=threat, attack=attack, seed=0, smoke=False)
        with pytest.raises(KeyboardInterrupt):
            ask()
        assert len(ask()) == len(few)
        assert sizes == [16, 16, 0, 8]
        whole = evaluate(robust_model, few, attack=attack, threat=threat, seed=0)
        assert torch.equal(few.ids, few.ids.sort().values)
        assert np.array_equal(ask().ids, whole.ids)
        assert sizes == [16, 16, 0, 8]


def test_a_measurement_of_some_samples_is_no_part_of_the_next_one(
    robust_model: PixelClassifier, few: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_BLOCK", 12)
    met: list[int] = []

    def noted(model: PixelClassifier, samples: Samples, **options: object) -> Outcomes:
        met.extend(samples.ids.tolist())
        return evaluate(model, samples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "evaluate", noted)
    key = ModelKey.of(["aa"], [1.0])
    attack, threat = partial(apgd, steps=3), Threat("linf", 0.1)
    some = few.ids[torch.randperm(len(few), generator=torch.Generator().manual_seed(0))][:15].numpy()
    with Store(tmp_path / "a.sqlite") as store:
        ask = partial(measure, store, key, lambda: robust_model, few, threat=threat, attack=attack, seed=0, smoke=False)
        first = ask(among=some)
        assert first.ids.tolist() == sorted(some.tolist()) == sorted(met)
        assert store.outcomes(store.measurements()[0]) is None
        whole = ask()
        assert sorted(met) == few.ids.tolist(), "every sample once"
        assert ask(among=some[:4]).ids.tolist() == sorted(some[:4].tolist())
        assert len(met) == len(few)
    direct = evaluate(robust_model, few, attack=attack, threat=threat, seed=0)
    assert np.array_equal(whole.ids, direct.ids)
    # Other batches: a few samples in a thousand may flip.
    assert (whole.robust != direct.robust).sum() <= 1
    assert np.array_equal(first.adversarial, whole.take(np.isin(whole.ids, some)).adversarial)


def test_samples_that_are_not_there_are_refused(robust_model: PixelClassifier, few: Samples, tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store, pytest.raises(BadInput, match="no sample of some id"):
        measure(
            store,
            ModelKey.of(["aa"], [1.0]),
            lambda: robust_model,
            few,
            threat=None,
            attack=None,
            seed=0,
            smoke=False,
            among=np.array([int(few.ids[0]), -5]),
        )


def test_precision_tells_measurements_apart_and_older_stores_still_answer(few: Samples) -> None:
    ask = partial(measurement, ModelKey.of(["aa"], [1.0]), few, threat=None, attack=None, seed=0, smoke=False)
    assert ask().key != ask(precision="bf16").key
    assert "precision" not in ask().to_json()
    assert type(ask()).from_json(ask(precision="bf16").to_json()) == ask(precision="bf16")
    assert type(ask()).from_json(ask().to_json()) == ask(fingerprint=few.fingerprint())
