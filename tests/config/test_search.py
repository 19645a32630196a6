import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from seasoning.config.search import make_plan, objectives_of, points_of, read_plan
from seasoning.errors import BadInput, SeasoningError, UnknownName
from seasoning.selection import Limit


def content(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "architecture": "resnet_small",
        "ingredients": {"nominal": "a.safetensors", "linf": "b.safetensors"},
        "data": {"digits": "digits"},
        "threats": ["linf:0.1", "l2:0.5"],
    }
    return plain | changes


def test_a_plan_without_objectives_has_all_that_its_data_allow() -> None:
    names = [each.name for each in objectives_of(make_plan(content(shifts=["blur"])))]
    tasks = ["digits", "digits/blur", "digits@linf:0.1", "digits@l2:0.5"]
    assert names == ["union", "mean", *tasks]
    assert [each.name for each in objectives_of(make_plan(content(threats=[])))] == ["digits"]


def test_objectives_are_read_with_their_limits_and_weights() -> None:
    given = [
        {"best": "union", "at_least": {"digits": 0.8}},
        {"best": "weighted", "name": "mostly clean", "weights": {"digits": 0.7, "union": 0.3}},
        {"best": "mean", "name": "all", "tasks": ["digits", "digits@l2:0.5"]},
    ]
    union, mixed, mean = objectives_of(make_plan(content(objectives=given)))
    assert union.terms[0].tasks == ("digits@linf:0.1", "digits@l2:0.5")
    assert union.limits == (Limit(("digits",), 0.8),)
    assert [(len(term.tasks), term.weight) for term in mixed.terms] == [(1, 0.7), (2, 0.3)]
    assert (mixed.name, mean.name, mean.tasks) == ("mostly clean", "all", ("digits", "digits@l2:0.5"))


def test_spaces_of_a_plan() -> None:
    assert len(points_of(make_plan(content()))) == 11
    assert len(points_of(make_plan(content(space={"kind": "box", "low": -0.2, "high": 1.2})))) == 15
    assert len(points_of(make_plan(content(space={"kind": "line", "low": 0, "high": 1, "step": 0.25})))) == 5
    ladder = {"kind": "ladder", "groups": {"nominal": "linf", "linf": "linf"}}
    assert points_of(make_plan(content(space=ladder))) == [(1.0, 0.0), (0.0, 1.0)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ingredients": {"only": "a"}}, "1 ingredients: give at least two"),
        ({"data": {}}, "no data"),
        *(
            ({"data": {name: "digits"}}, f"data set called '{name}': .* give it another name, such as my-{other}")
            for name, other in [(each, each) for each in ("clean", "union", "mean", "each", "weighted")]
            + [("digits@linf:0.1", "digits-linf:0.1")]
        ),
        ({"shots": 1}, "setting shots=1: Input should be greater than or equal to 2"),
        ({"shot": 10}, "unknown setting 'shot': did you mean 'shots'"),
        ({"space": {"stp": 0.1}}, "unknown setting 'stp': did you mean 'step'"),
        ({"space": {"step": 0.3}}, "no multiple of the step"),
        ({"space": {"kind": "ladder"}}, "the group of each ingredient"),
        ({"threats": ["linf"]}, "expected norm:radius"),
        ({"mean": [0.5]}, "mean and std go together"),
        ({"strategy": "climbing"}, "unknown strategy 'climbing': did you mean 'climb'"),
        ({"attacked": ["fog"]}, "unknown data set to attack 'fog'"),
        ({"objectives": [{"best": "weighted"}]}, "weights go with"),
        ({"objectives": [{"best": "union"}], "threats": []}, "a union over no threats"),
        ({"objectives": [{"best": "fog"}]}, r"unknown task \(measure it: add its data, shift or threat to the plan\)"),
        ({"objectives": [{"best": "mean", "at_least": {"digits@l1:2": 0.5}}]}, "measure it"),
        ({"objectives": [{"best": "digits"}, {"best": "digits"}]}, "two objectives are called 'digits'"),
        ({"pareto": ["digits"]}, "at least two objectives"),
        ({"pareto": ["digits", "fog"]}, "unknown objective of the Pareto front 'fog'"),
    ],
)
def test_impossible_plans_are_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SeasoningError, match=words):
        make_plan(content(**changes))


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(BadInput) as error:
        make_plan(content(shots=0, top=0, shot=3))
    assert len(str(error.value).splitlines()) == 3


def test_an_attacked_data_set_must_be_one_for_a_union() -> None:
    two = content(data={"a": "digits", "b": "digits"}, attacked=["a", "b"], objectives=[{"best": "union"}])
    with pytest.raises(BadInput, match="data sets a, b"):
        make_plan(two)
    two["objectives"] = [{"best": "union", "tasks": ["a@linf:0.1", "a@l2:0.5"]}]
    assert objectives_of(make_plan(two))[0].tasks == ("a@linf:0.1", "a@l2:0.5")


def test_a_file_is_read_with_places_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "cartoons").mkdir()
    path = tmp_path / "plan.toml"
    path.write_text(
        'architecture = "resnet_small"\nshots = 20\n[ingredients]\na = "a.safetensors"\nb = "elsewhere.pt"\n'
        '[data]\ncartoons = "cartoons"\n[space]\nkind = "box"\nlow = -0.2\n'
    )
    plan = read_plan(path, {"shots": 30}, ["space.step=0.2", "top=1", 'attack.suite="strong"'])
    assert plan.ingredients == {"a": str(tmp_path / "a.safetensors"), "b": "elsewhere.pt"}
    assert (plan.data, plan.folder) == ({"cartoons": "cartoons"}, str(tmp_path))
    assert (plan.shots, plan.top, plan.space.kind, plan.space.step, plan.space.low) == (30, 1, "box", 0.2, -0.2)
    assert plan.attack.suite == "strong"


def test_files_that_are_no_plan_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        read_plan(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = [")
    with pytest.raises(BadInput, match="is no TOML"):
        read_plan(tmp_path / "bad.toml")
    with pytest.raises(BadInput, match="expected key=value"):
        make_plan(content(), ["top"])
    with pytest.raises(UnknownName):
        make_plan(content(), ["strategy=slow"])


def test_the_plan_of_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    block = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)[0]
    plan = make_plan(tomllib.loads(block))
    assert [each.name for each in objectives_of(plan)] == ["careful union", "mostly clean"]
