"""Specs from text: settings, sections, unknown keys, and all mistakes together."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field, ValidationError

from seasoning.config.base import (
    Count,
    Positive,
    Seed,
    Spec,
    Threats,
    at_todays_keys,
    keys_of,
    parse_value,
    read_spec,
    read_toml,
    resolve,
    with_settings,
)
from seasoning.config.search import SearchPlan, make_plan
from seasoning.config.train import RecipeSpec, find_recipe, read_recipe_file
from seasoning.errors import BadInput, UnknownName
from seasoning.threat import Threat


class Inner(Spec):
    """A section."""

    epochs: Count = 2
    rate: Positive = 0.1
    options: dict[str, Any] = Field(default={})


class Entry(Spec):
    """An entry of a list."""

    name: str
    share: float = 1.0


class Outer(Spec):
    """A spec with sections, one of which may be left out, and a list of them."""

    moved: ClassVar[dict[str, str]] = {"epochs": "inner.epochs", "options": "inner.options", "extra.pace": "extra.rate"}

    seed: Seed = 0
    threats: Threats = ()
    inner: Inner = Inner()
    extra: Inner | None = None
    entries: tuple[Entry, ...] = ()
    names: dict[str, str] = Field(default={})


def specs() -> list[Spec]:
    """Two specs of the package, and one with everything that a spec can have."""
    plan = {
        "network": {"architecture": "resnet_small", "options": {"width": 8}},
        "ingredients": {"a": "a.pt", "b": "b.pt"},
        "data": {"digits": "digits"},
        "threats": ["linf:8/255"],
        "objectives": [{"best": "digits", "at_least": {"digits": 0.5}, "ingredients": ["a"]}],
    }
    full = {"extra": {"rate": 1 / 3}, "entries": [{"name": "x"}], "names": {"k": "v"}, "threats": ["l2:0.5"]}
    return [make_plan(plan), read_recipe_file(find_recipe("digits/linf")[1]), read_spec(full, Outer)]


def test_settings_reach_every_section() -> None:
    settings = ["inner.epochs=1", "seed=7", "extra.rate=0.5", 'threats=["l2:0.5", "linf:8/255", "l1:3"]', "names.a=b"]
    spec = resolve(settings, Outer())
    assert spec.extra is not None
    assert (spec.inner.epochs, spec.seed, spec.extra.rate, spec.names) == (1, 7, 0.5, {"a": "b"})
    assert [Threat.parse(text) for text in spec.threats] == [
        Threat("l2", 0.5),
        Threat("linf", 8 / 255),
        Threat("l1", 3),
    ]
    assert resolve(["inner.options.width=8", "inner.options.kind=wide"], spec).inner.options == {
        "width": 8,
        "kind": "wide",
    }


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: type(spec).__name__)
def test_specs_survive_the_store(spec: Spec) -> None:
    kind = type(spec)
    assert kind.model_validate_json(spec.model_dump_json()) == spec
    assert kind.model_validate(spec.model_dump(mode="json")) == spec
    assert resolve([], spec) == spec


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().seed = 3


def test_threats_are_kept_once_in_one_spelling() -> None:
    spec = read_spec({"threats": ["linf:8/255", "l2:1", "linf:0.03137254901960784", "l2:1.0"]}, Outer)
    assert list(spec.threats) == [str(Threat("linf", 8 / 255)), "l2:1"]


@pytest.mark.parametrize(
    ("setting", "near"),
    [
        ("inner.epoch=1", "inner.epochs"),
        ("extra.rates=3", "extra.rate"),
        ("sed=3", "seed"),
        ('entries=[{name="a", shares=1}]', "entries.0.share"),
    ],
)
def test_an_unknown_key_names_the_nearest(setting: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{near}'"):
        resolve([setting], Outer())


def test_unknown_keys_are_listed_with_the_other_mistakes() -> None:
    with pytest.raises(BadInput) as caught:
        resolve(["sed=1", "iner.epochs=3", "inner.rate=many"], Outer())
    told = ("'sed': did you mean 'seed'", "'iner.epochs': did you mean 'inner.epochs'", "inner.rate='many'")
    assert all(words in str(caught.value) for words in told)
    with pytest.raises(BadInput, match=r"inner\.epochs"):
        resolve(["sed=1", "iner.epochs=3"], Outer())


def test_all_mistakes_are_listed_together() -> None:
    settings = ["inner.epochs=0", "seed=-1", "inner.rate=inf", 'threats=["linf"]', "entries=[{}]"]
    with pytest.raises(BadInput) as caught:
        resolve(settings, Outer())
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for key in ("inner.epochs=0", "seed=-1", "inner.rate=inf", "threats=", "entries.0.name is missing"):
        assert any(f"setting {key}" in line for line in lines)


@pytest.mark.parametrize(
    ("threats", "words"),
    [
        ('["linf:0.1", "l2:1", "l3:2"]', "unknown threat norm 'l3'"),
        ('["linf"]', "expected norm:radius"),
        ('["linf:-1", "l2:1", "l1:2"]', "at least 0"),
    ],
)
def test_impossible_threats_are_named(threats: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        resolve([f"threats={threats}"], Outer())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seed", "expected key=value"),
        ("seed.x=1", "seed holds a value and no further settings"),
    ],
)
def test_settings_that_are_none_are_refused(setting: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        resolve([setting], Outer(seed=3))


def test_values_are_toml_or_plain_text() -> None:
    texts = ["3", "0.5", "true", '"3"', "[1, 2]", '{a="b"}', "resnet_small", "a=b", ""]
    values = [3, 0.5, True, "3", [1, 2], {"a": "b"}, "resnet_small", "a=b", ""]
    assert [parse_value(text) for text in texts] == values
    assert resolve(["names.a=b=c"], Outer()).names == {"a": "b=c"}


def test_keys_are_those_of_all_sections() -> None:
    inner = ["epochs", "rate", "options"]
    assert list(keys_of(Outer)) == [
        "seed",
        "threats",
        *(f"inner.{key}" for key in inner),
        *(f"extra.{key}" for key in inner),
        "entries",
        "names",
    ]


def test_earlier_keys_are_those_of_today() -> None:
    given = {"epochs": 3, "options": {"width": 8}, "extra": {"pace": 0.5}}
    today = {"inner": {"epochs": 3, "options": {"width": 8}}, "extra": {"rate": 0.5}}
    assert at_todays_keys(given, Outer) == today
    assert read_spec(given, Outer) == read_spec(today, Outer)
    assert given == {"epochs": 3, "options": {"width": 8}, "extra": {"pace": 0.5}}
    settings = ["epochs=3", "options.width=8", "extra.pace=0.5"]
    assert resolve(settings, Outer()) == read_spec(today, Outer)
    # A setting takes the place of the same one in a file, under whichever key either has it.
    for earlier in (given, today):
        for setting in ("epochs=4", "inner.epochs=4"):
            assert with_settings(earlier, [setting], Outer)["inner"]["epochs"] == 4


def test_a_setting_under_both_its_keys_is_refused() -> None:
    with pytest.raises(BadInput, match=r"settings epochs and inner\.epochs are the same one: keep inner\.epochs"):
        read_spec({"epochs": 3, "inner": {"epochs": 4}}, Outer)


def test_mistakes_at_earlier_keys_are_told_at_those_of_today() -> None:
    with pytest.raises(BadInput, match=r"setting inner\.epochs=0"):
        read_spec({"epochs": 0}, Outer)
    # Where the section is no section, both are told.
    with pytest.raises(BadInput, match=r"inner=3.*(\n.*)*'epochs'"):
        read_spec({"epochs": 2, "inner": 3}, Outer)


def test_files_that_are_no_toml_are_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.toml is not there: give a file"):
        read_toml(tmp_path / "none.toml", "give a file")
    (tmp_path / "bad.toml").write_text("a = [")
    with pytest.raises(BadInput, match=r"is no TOML .*: give a file"):
        read_toml(tmp_path / "bad.toml", "give a file")
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    with pytest.raises(BadInput, match="is no TOML"):
        read_toml(tmp_path / "latin.toml", "give a file")


def test_every_field_of_a_spec_is_described() -> None:
    def check(kind: type[Spec]) -> None:
        for name, field in kind.model_fields.items():
            inner = [each for each in (field.annotation, *getattr(field.annotation, "__args__", ())) if each]
            sections = [each for each in inner if isinstance(each, type) and issubclass(each, Spec)]
            for section in sections:
                check(section)
            assert field.description or sections, f"{kind.__name__}.{name}"

    check(SearchPlan)
    check(RecipeSpec)
