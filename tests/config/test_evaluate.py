"""What `evaluate` is asked, as a spec."""

from typing import Any

import pytest

from seasoning.config.base import read_spec, resolve
from seasoning.config.evaluate import EvaluateSpec
from seasoning.errors import BadInput, SeasoningError


def content(**changes: Any) -> dict[str, Any]:
    return {"network": {"architecture": "resnet_small"}, **changes}


def test_only_the_architecture_must_be_given() -> None:
    spec = read_spec(content(), EvaluateSpec)
    assert (spec.data, spec.split, spec.threats, spec.precision) == (("digits",), None, (), "full")
    assert (spec.attack.suite, spec.attack.steps, spec.reading.transform) == ("default", None, "auto")
    assert (spec.batch_size, spec.device, spec.channels_last, spec.seed) == (None, None, False, 0)
    with pytest.raises(BadInput, match="setting network is missing"):
        read_spec({}, EvaluateSpec)


def test_settings_reach_its_sections() -> None:
    settings = ["network.options.width=4", "reading.workers=0", "attack.steps=3", 'threats=["linf:8/255"]', "seed=2"]
    spec = resolve(settings, read_spec(content(data=["digits", "folder=x"]), EvaluateSpec))
    assert (spec.network.options, spec.reading.workers, spec.attack.steps) == ({"width": 4}, 0, 3)
    assert (spec.data, spec.threats, spec.seed) == (("digits", "folder=x"), ("linf:8/255",), 2)
    assert EvaluateSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 0}, "setting batch_size=0"),
        ({"threats": ["linf"]}, "expected norm:radius"),
        ({"threats": ["l3:1"]}, "unknown threat norm 'l3'"),
        ({"network": {"architecture": "resnet_small", "std": [0.5]}}, "mean and std go together"),
        ({"attack": {"step": 3}}, "unknown setting 'attack.step': did you mean 'attack.steps'"),
        ({"others": 3}, "unknown setting 'others'"),
        ({"images": 0}, "setting images=0"),
        ({"images": 5, "shots": 2}, "images=5 and shots=2: give one, so many in all or of each class"),
        ({"seed": -1}, "setting seed=-1"),
    ],
)
def test_impossible_measurements_are_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SeasoningError, match=words):
        read_spec(content(**changes), EvaluateSpec)
