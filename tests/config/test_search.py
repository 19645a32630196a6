import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from seasoning.config.search import (
    SearchPlan,
    make_plan,
    objectives_of,
    plan_content,
    points_of,
    read_plan,
    require_front,
    shared_ingredients,
)
from seasoning.errors import BadInput, SeasoningError, UnknownName
from seasoning.selection import Limit


def content(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "network": {"architecture": "resnet_small"},
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
        ({"space": {"stp": 0.1}}, "unknown setting 'space.stp': did you mean 'space.step'"),
        ({"space": {"step": 0.3}}, "no multiple of the step"),
        ({"space": {"kind": "ladder"}}, "the group of each ingredient"),
        ({"threats": ["linf"]}, "expected norm:radius"),
        ({"network": {"architecture": "resnet_small", "mean": [0.5]}}, "mean and std go together"),
        ({"network": {}}, r"setting network\.architecture is missing"),
        ({"reading": {"workers": -1}}, r"setting reading\.workers=-1"),
        ({"strategy": "climbing"}, "unknown strategy 'climbing': did you mean 'climb'"),
        ({"attacked": ["fog"]}, "unknown data set to attack 'fog'"),
        ({"objectives": [{"best": "weighted"}]}, "weights go with"),
        ({"objectives": [{"best": "union"}], "threats": []}, "a union over no threats"),
        ({"objectives": [{"best": "fog"}]}, r"unknown task \(measure it: add its data, shift or threat to the plan\)"),
        ({"objectives": [{"best": "mean", "at_least": {"digits@l1:2": 0.5}}]}, "measure it"),
        ({"objectives": [{"best": "digits"}, {"best": "digits"}]}, "two objectives are called 'digits'"),
        ({"data": {"a/b": "digits"}}, "a data set called 'a/b': .* such as my-a-b"),
        (
            {"objectives": [{"best": "mean", "ingredients": ["lnf"]}]},
            "unknown ingredient of an objective 'lnf': did you mean 'linf'",
        ),
        (
            {
                "objectives": [{"best": "mean", "ingredients": ["linf"]}],
                "space": {"kind": "box", "low": 0.1, "high": 0.9},
            },
            "the space has no soup of linf alone: give the objective more ingredients, or widen the space",
        ),
        ({"pareto": ["digits"]}, "at least two objectives"),
        ({"pareto": ["digits", "fog"]}, "unknown objective of the Pareto front 'fog'"),
    ],
)
def test_impossible_plans_are_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SeasoningError, match=words):
        make_plan(content(**changes))


def test_each_and_the_name_of_a_set_of_many_parts_go_together() -> None:
    plan = make_plan(content(objectives=[{"best": "each"}, {"best": "digits"}], threats=[]))
    names = [each.name for each in objectives_of(plan, {"digits": ("digits/fog/1", "digits/fog/2")})]
    assert names == ["digits/fog/1", "digits/fog/2", "digits"]
    # Of a set of one part both mean the same.
    with pytest.raises(BadInput, match="two objectives are called 'digits'"):
        objectives_of(plan, {})


def test_candidates_are_files_or_tables(tmp_path: Path) -> None:
    (tmp_path / "joint.pt").touch()
    path = tmp_path / "plan.toml"
    path.write_text(
        '[network]\narchitecture = "resnet_small"\n[ingredients]\na = "a.pt"\nb = "b.pt"\n[data]\ndigits = "digits"\n'
        '[candidates]\njoint = "joint.pt"\nother = { file = "joint.pt", architecture = "resnet18" }\n'
    )
    plan = read_plan(path)
    assert {name: each.file for name, each in plan.candidates.items()} == dict.fromkeys(
        ("joint", "other"), str(tmp_path / "joint.pt")
    )
    assert [each.architecture for each in plan.candidates.values()] == [None, "resnet18"]
    assert make_plan(content(candidates={"joint": Path("j.pt")})).candidates["joint"].file == "j.pt"
    for name in ("linf", "union soup", "ensemble of 2"):
        with pytest.raises(BadInput, match=f"a candidate called '{name}', as another model of the tables"):
            make_plan(content(candidates={name: "j.pt"}))
    with pytest.raises(BadInput, match="mean and std go together"):
        make_plan(content(candidates={"joint": {"file": "j.pt", "mean": [0.5]}}))


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
        'shots = 20\n[network]\narchitecture = "resnet_small"\n'
        '[ingredients]\na = "a.safetensors"\nb = "elsewhere.pt"\n'
        '[data]\ncartoons = "cartoons"\n[space]\nkind = "box"\nlow = -0.2\n'
    )
    plan = read_plan(path, {"shots": 30}, ["space.step=0.2", "top=1", 'attack.suite="strong"'])
    assert plan.ingredients == {"a": str(tmp_path / "a.safetensors"), "b": "elsewhere.pt"}
    assert (plan.data, plan.folder) == ({"cartoons": "cartoons"}, str(tmp_path))
    assert (plan.shots, plan.top, plan.space.kind, plan.space.step, plan.space.low) == (30, 1, "box", 0.2, -0.2)
    assert plan.attack.suite == "strong"


@pytest.mark.parametrize(
    ("value", "beside"),
    [
        ("a.pt", True),
        ("a.pt:state_dict_ema", True),
        ("a.pt:model.net", True),
        ("sharded", True),
        ("local-dir:sharded", True),
        ("sharded:part", False),
        ("b.pt:ema", False),
        ("timm:resnet18", False),
        ("hf-hub:me/mine", False),
        ("local-dir:elsewhere", False),
    ],
)
def test_parts_of_files_and_folders_are_looked_for_beside_the_plan(tmp_path: Path, value: str, beside: bool) -> None:
    (tmp_path / "a.pt").touch()
    (tmp_path / "sharded").mkdir()
    path = tmp_path / "plan.toml"
    path.write_text(
        f'[ingredients]\na = "{value}"\n[network]\narchitecture = "net.py:make"\noptions = {{ width = 4 }}\n'
    )
    found = plan_content(path, {})["ingredients"]["a"]
    kind, place = ("local-dir:", value[10:]) if value.startswith("local-dir:") else ("", value)
    assert found == (f"{kind}{tmp_path / place}" if beside else value)


def test_a_file_of_an_architecture_is_looked_for_beside_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    for text in (
        '[network]\narchitecture = "net.py:make"\noptions = { width = 4 }\n',
        'architecture = "net.py:make"\n',
    ):
        path.write_text(text)
        assert plan_content(path, {})["network"]["architecture"] == "net.py:make"
        (tmp_path / "net.py").touch()
        assert plan_content(path, {})["network"]["architecture"] == f"{tmp_path / 'net.py'}:make"
        # What the command line says is meant from where the user is.
        given = plan_content(path, {"network": {"architecture": "net.py:other"}})["network"]["architecture"]
        assert given == "net.py:other"
        (tmp_path / "net.py").unlink()


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


# ---- ingredients of an objective


THREE = {name: f"{name}.pt" for name in ("linf", "l2", "nominal")}


def test_an_objective_of_some_ingredients_has_the_points_of_these() -> None:
    given = [
        {"best": "union", "ingredients": ["l2", "linf"]},
        {"best": "mean"},
        {"best": "each", "tasks": ["digits", "digits@l2:0.5"], "ingredients": ["nominal"]},
        {"best": "digits@linf:0.1", "name": "all", "ingredients": ["nominal", "l2", "linf"]},
    ]
    plan = make_plan(content(ingredients=THREE, objectives=given, space={"step": 0.25}))
    objectives = objectives_of(plan)
    # In the order of the weights; all of them are no limit.
    limits = [("linf", "l2"), (), ("nominal",), ("nominal",), ()]
    assert [objective.ingredients for objective in objectives] == limits
    assert points_of(plan, ("linf", "l2")) == [(k / 4, 1 - k / 4, 0.0) for k in (4, 3, 2, 1, 0)]
    assert points_of(plan, ("nominal",)) == [(0.0, 0.0, 1.0)]
    assert points_of(plan, ()) == points_of(plan)
    assert len(points_of(plan)) == 15
    allowed = [[point for point in points_of(plan) if each.allows(point, list(THREE))] for each in objectives]
    assert allowed == [points_of(plan, each.ingredients) for each in objectives]


def test_a_front_is_of_objectives_that_share_ingredients() -> None:
    given = [
        {"best": "digits", "ingredients": ["linf", "l2"]},
        {"best": "digits@linf:0.1"},
        {"best": "digits@l2:0.5", "ingredients": ["nominal"]},
    ]
    plan = make_plan(content(ingredients=THREE, objectives=given, pareto=["digits", "digits@linf:0.1"]))
    clean, linf, l2 = objectives_of(plan)
    assert shared_ingredients(plan, [clean, linf]) == ("linf", "l2")
    assert shared_ingredients(plan, [linf]) == tuple(THREE)
    assert shared_ingredients(plan, [clean, l2]) == ()
    with pytest.raises(BadInput, match=r"front over digits and digits@l2:0\.5, which have no ingredient in common"):
        make_plan(content(ingredients=THREE, objectives=given, pareto=["digits", "digits@l2:0.5"]))
    require_front(plan, [clean, linf, l2])


# ---- plans of earlier versions


FLAT: dict[str, Any] = {
    "architecture": "resnet_small",
    "options": {"widths": [4, 8]},
    "mean": [0.5],
    "std": [0.25],
    "transform": "as-is",
    "classes": [str(number) for number in range(10)],
    "partial": True,
    "skip_damaged": True,
    "workers": 2,
    "cache": "kept",
    "memory_limit": 1.5,
    "attack": {"steps": 9, "rough_steps": 7},
}
SECTIONS: dict[str, Any] = {
    "network": {name: FLAT[name] for name in ("architecture", "options", "mean", "std")},
    "reading": {
        name: FLAT[name]
        for name in ("transform", "classes", "partial", "skip_damaged", "workers", "cache", "memory_limit")
    },
    "attack": {"steps": 9, "screening_steps": 7},
}


def rest() -> dict[str, Any]:
    """A plan without what has moved into sections."""
    return {name: value for name, value in content().items() if name != "network"}


def test_flat_plans_are_the_plans_with_sections(tmp_path: Path) -> None:
    wanted = make_plan(rest() | SECTIONS)
    assert (wanted.network.options, wanted.reading.cache, wanted.attack.screening_steps) == (FLAT["options"], "kept", 7)
    assert make_plan(rest() | FLAT) == wanted
    # Also a file, with changes of either form.
    path = tmp_path / "plan.toml"
    path.write_text(
        'architecture = "resnet_small"\nworkers = 5\ncache = "kept"\n[ingredients]\na = "a"\nb = "b"\n'
        '[data]\ndigits = "digits"\n[options]\nwidths = [4, 8]\n[attack]\nsteps = 9\nrough_steps = 3\n'
    )
    for changes in (
        {"architecture": "resnet_small", "workers": 2, "attack": {"rough_steps": 7}},
        {
            "network": {"architecture": "resnet_small"},
            "reading": {"workers": 2},
            "attack": {"screening_steps": 7},
        },
    ):
        plan = read_plan(path, changes)
        assert plan.network.options == {"widths": [4, 8]}
        assert (plan.reading.workers, plan.reading.cache) == (2, "kept")
        assert (plan.attack.steps, plan.attack.screening_steps) == (9, 7)


@pytest.mark.parametrize("base", [FLAT, SECTIONS], ids=["flat", "sections"])
@pytest.mark.parametrize(
    "settings",
    [
        ["architecture=other", "options.widths=[8]", "workers=3", 'cache="here"', "attack.rough_steps=2"],
        [
            "network.architecture=other",
            "network.options.widths=[8]",
            "reading.workers=3",
            'reading.cache="here"',
            "attack.screening_steps=2",
        ],
    ],
    ids=["flat", "sections"],
)
def test_settings_take_the_place_of_a_plan_s_under_either_key(base: dict[str, Any], settings: list[str]) -> None:
    plan = make_plan(rest() | base, settings)
    assert plan.network.architecture == "other"
    assert plan.network.options == {"widths": [8]}
    assert (plan.network.mean, plan.reading.workers, plan.reading.cache) == ((0.5,), 3, "here")
    assert (plan.attack.steps, plan.attack.screening_steps) == (9, 2)


def test_every_earlier_key_leads_to_a_setting() -> None:
    from seasoning.config.base import keys_of

    assert set(SearchPlan.moved.values()) <= set(keys_of(SearchPlan))
    assert not set(SearchPlan.moved) & set(SearchPlan.model_fields)


def test_a_setting_under_both_its_keys_is_refused() -> None:
    with pytest.raises(BadInput, match=r"settings workers and reading\.workers are the same one"):
        make_plan(content(workers=1, reading={"workers": 2}))
