from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from seasoning import measuring
from seasoning.attacks import apgd
from seasoning.data import Samples
from seasoning.evaluation import evaluate
from seasoning.models import Classifier
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.store import Store
from seasoning.threat import Threat


def test_a_measurement_cut_between_blocks_goes_on_with_the_missing_samples(
    robust_model: Classifier, few: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_BLOCK", 16)
    sizes: list[int] = []

    def counted(model: Classifier, samples: Samples, **options: object) -> Outcomes:
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
        measure = partial(
            measuring.measure, store, key, lambda: robust_model, few, threat=threat, attack=attack, seed=0, smoke=False
        )
        with pytest.raises(KeyboardInterrupt):
            measure()
        assert len(measure()) == len(few)
        assert sizes == [16, 16, 0, 8]
        whole = evaluate(robust_model, few, attack=attack, threat=threat, seed=0)
        assert torch.equal(few.ids, few.ids.sort().values)
        assert np.array_equal(measure().ids, whole.ids)
        assert sizes == [16, 16, 0, 8]
