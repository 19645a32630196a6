import pytest
from pydantic import ValidationError

from seasoning.config.base import RunSpec, resolve
from seasoning.errors import BadInput, UnknownName
from seasoning.threat import Threat


def test_settings_reach_every_section() -> None:
    settings = ["training.base_epochs=1", "seed=7", "data.source=digits", 'threats=["l2:0.5", "linf:8/255", "l1:3"]']
    spec = resolve(settings, RunSpec())
    assert (spec.training.base_epochs, spec.seed, spec.data.source) == (1, 7, "digits")
    assert [Threat.parse(text) for text in spec.threats] == [
        Threat("l2", 0.5),
        Threat("linf", 8 / 255),
        Threat("l1", 3),
    ]


def test_specs_survive_the_store() -> None:
    spec = RunSpec().shrunk()
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec
    assert RunSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunSpec().seed = 3


@pytest.mark.parametrize(
    ("setting", "near"), [("training.bace_epochs=1", "training.base_epochs"), ("grid_part=3", "grid_parts")]
)
def test_an_unknown_key_names_the_nearest(setting: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{near}'"):
        resolve([setting], RunSpec())


def test_unknown_keys_are_listed_with_the_other_mistakes() -> None:
    with pytest.raises(BadInput) as caught:
        resolve(["sed=1", "grid_part=3", "data.test=many"], RunSpec())
    assert all(word in str(caught.value) for word in ("'seed'", "'grid_parts'", "data.test"))
    with pytest.raises(BadInput, match="grid_parts"):
        resolve(["sed=1", "grid_part=3"], RunSpec())


def test_all_mistakes_are_listed_together() -> None:
    settings = ["training.base_epochs=0", "data.test=many", "training.base_rate=-1", 'threats=["linf:0.1"]']
    with pytest.raises(BadInput) as caught:
        resolve(settings, RunSpec())
    for place in ("training.base_epochs", "data.test", "training.base_rate", "one threat of each norm"):
        assert place in str(caught.value)


@pytest.mark.parametrize(
    ("threats", "words"),
    [
        ('["linf:0.1", "l2:1", "l3:2"]', "unknown threat norm 'l3'"),
        ('["linf:0.1", "linf:0.2", "l1:2"]', "one threat of each norm"),
        ('["linf:-1", "l2:1", "l1:2"]', "at least 0"),
    ],
)
def test_impossible_threats_are_named(threats: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        resolve([f"threats={threats}"], RunSpec())


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(BadInput, match="expected key=value"):
        resolve(["seed"], RunSpec())


def test_a_smoke_run_keeps_threats_and_shape() -> None:
    spec, small = RunSpec(), RunSpec().shrunk()
    assert small.smoke
    assert (small.threats, small.data.shifts, small.training.architecture) == (
        spec.threats,
        spec.data.shifts,
        spec.training.architecture,
    )
    assert small.evaluation.suite == spec.evaluation.suite
