"""The plan of a search: ingredients, data, what is tried, and what soups should be best at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from seasoning.config.base import (
    Count,
    Positive,
    Seed,
    Spec,
    Threats,
    at_todays_keys,
    read_spec,
    read_toml,
    with_settings,
)
from seasoning.config.objectives import WAYS, Asked, SearchObjectiveSpec, ask, search_objectives
from seasoning.config.sections import AttackSection, CandidateSection, NetworkSection, ReadingSection, SpaceSection
from seasoning.errors import BadInput, SeasoningError, UnknownName
from seasoning.selection import SearchObjective
from seasoning.strategies import STRATEGIES, Weights, box, ladder, line, simplex
from seasoning.task import Task


__all__ = [
    "SearchPlan",
    "make_plan",
    "objectives_of",
    "plan_content",
    "points_of",
    "read_plan",
    "require_front",
    "shared_ingredients",
]

# What timm puts before the folder of a published model.
_LOCAL = "local-dir:"
# Names that a data set would be mistaken for something else by, in an objective or on the page.
_TAKEN = ("clean", *WAYS)


class SearchPlan(Spec):
    """A search."""

    # Plans had no sections once.
    moved: ClassVar[dict[str, str]] = {
        **{name: f"network.{name}" for name in NetworkSection.model_fields},
        **{name: f"reading.{name}" for name in ReadingSection.model_fields},
        "attack.rough_steps": "attack.screening_steps",
    }

    ingredients: dict[str, str] = Field(description="Names and files of the checkpoints, in the order of the weights.")
    network: NetworkSection
    candidates: dict[str, CandidateSection] = Field(
        default={},
        description="Other models of the same classes, by name, measured beside the soups: files, or tables.",
    )
    batch_norm: Literal["mix", "geometric"] = Field(default="mix", description="How running variances are mixed.")
    data: dict[str, str] = Field(
        description="Names and sources of labelled images, as for `seasoning evaluate`; the first one is the main one."
    )
    folder: str = Field(default=".", description="Where folders of images are looked for; by default beside the plan.")
    shifts: tuple[str, ...] = Field(default=(), description="Natural shifts of the main data set to measure, too.")
    reading: ReadingSection = ReadingSection()
    threats: Threats = Field(default=(), description="Threats, such as linf:8/255.")
    attacked: tuple[str, ...] = Field(default=(), description="Data sets under the threats; by default the main one.")
    shots: Annotated[int, Field(ge=2)] = Field(default=1000, description="Images of each data set to choose soups on.")
    others: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Held-out images of each data set to measure the chosen soups on; by default all."
    )
    top: Count = Field(default=3, description="Soups to report for each objective.")
    uniform: bool = Field(default=True, description="Whether the uniform soup is measured beside the chosen ones.")
    ensemble: bool = Field(default=False, description="Whether to measure the ensemble: a pass for each ingredient.")
    space: SpaceSection = SpaceSection()
    strategy: str = Field(default="climb", description="How the space is searched.")
    objectives: tuple[SearchObjectiveSpec, ...] = Field(default=(), description="By default as many as the data allow.")
    pareto: tuple[str, ...] = Field(default=(), description="Two or more objectives to draw the Pareto front of.")
    attack: AttackSection = AttackSection()
    precision: Literal["full", "bf16"] = Field(default="full", description="bf16 screens soups in bfloat16.")
    batch_size: Count | None = Field(default=None, description="Most images in the model at a time; else by need.")
    memory: Positive | None = Field(default=None, description="GiB for images in work; else half of what is free.")
    time_limit: Positive | None = Field(default=None, description="Most minutes of the search, as estimated.")
    seed: Seed = Field(default=0, description="Seed of the attacks' random starts.")
    smoke: bool = Field(default=False, description="Whether it only tries the machinery; its outcomes are marked.")

    @field_validator("data")
    @classmethod
    def _not_taken(cls, data: dict[str, str]) -> dict[str, str]:
        for name in data:
            try:
                Task(name)
            except SeasoningError as error:
                raise ValueError(
                    f"a data set called {name!r}: names hold no / and no @; give it another name, such as "
                    f"my-{name.replace('@', '-').replace('/', '-')}"
                ) from error
            if name in _TAKEN:
                raise ValueError(
                    f"a data set called {name!r}: {', '.join(_TAKEN)} mean tasks and objectives; give it another name, "
                    f"such as my-{name}"
                )
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> "SearchPlan":
        if len(self.ingredients) < 2:
            raise ValueError(f"{len(self.ingredients)} ingredients: give at least two")
        if not self.data:
            raise ValueError("no data: give at least one folder of labelled images, or a known data set")
        if self.space.kind == "line" and len(self.ingredients) != 2:
            raise ValueError(f"a line through {len(self.ingredients)} ingredients: it takes two")
        if self.space.kind == "ladder" and self.space.groups.keys() != self.ingredients.keys():
            raise ValueError(f"a ladder wants the group of each ingredient: {', '.join(self.ingredients)}")
        for name in self.candidates:
            if name in self.ingredients or name.endswith(" soup") or name.startswith(("ensemble of ", "uniform soup ")):
                raise ValueError(
                    f"a candidate called {name!r}, as another model of the tables is: give it another name"
                )
        for objective in self.objectives:
            for name in objective.ingredients:
                if name not in self.ingredients:
                    raise ValueError(str(UnknownName("ingredient of an objective", name, self.ingredients)))
        return self

    @property
    def main(self) -> str:
        """The name of the first data set."""
        return next(iter(self.data))

    def asked(self, parts: Mapping[str, Sequence[str]] | None = None) -> Asked:
        """What is measured: every data set, clean and under the threats.

        Args:
            parts: Of data sets of many parts, the names of the parts; `None` before any data set is looked at.

        Raises:
            UnknownName: no such data set to attack.
            BadInput: two data sets of one name, or a shift of a data set of many parts.
        """
        shifts = [f"{self.main}/{shift}" for shift in self.shifts]
        return ask(list(self.data), shifts, self.attacked or (self.main,), self.threats, parts)


def points_of(plan: SearchPlan, ingredients: Sequence[str] = ()) -> list[Weights]:
    """The points of the plan's space, or those of them that use some ingredients alone.

    Raises:
        BadInput: there are none.
    """
    space = plan.space
    count = len(plan.ingredients)
    if space.kind == "box":
        points = box(count, space.parts, space.low, space.high)
    elif space.kind == "line":
        points = line(space.parts, space.low, space.high)
    elif space.kind == "ladder":
        points = ladder([space.groups[name] for name in plan.ingredients], space.parts)
    else:
        points = simplex(count, space.parts)
    left_out = [index for index, name in enumerate(plan.ingredients) if ingredients and name not in ingredients]
    kept = [weights for weights in points if not any(weights[index] for index in left_out)]
    if not kept:
        raise BadInput(
            f"the space has no soup of {', '.join(ingredients)} alone: give the objective more ingredients, or widen "
            "the space"
        )
    return kept


def objectives_of(plan: SearchPlan, parts: Mapping[str, Sequence[str]] | None = None) -> list[SearchObjective]:
    """The plan's objectives, those of `each` one by one; where it names none, all that the data allow.

    Args:
        plan: The search.
        parts: Of data sets of many parts, the names of the parts; `None` before any data set is looked at, when a name
            below that of a data set is taken for one of its parts.

    Raises:
        UnknownName: an objective over a task that the plan does not measure.
        BadInput: a union without threats; or two objectives of one name.
    """
    found = search_objectives(plan.objectives, plan.asked(parts))
    # In the order of the weights, so that objectives of the same ingredients have the same space.
    mine = [tuple(name for name in plan.ingredients if name in objective.ingredients) for objective in found]
    limited = [names if len(names) < len(plan.ingredients) else () for names in mine]
    return [replace(objective, ingredients=names) for objective, names in zip(found, limited, strict=True)]


def read_plan(path: Path, changes: Mapping[str, Any] | None = None, settings: Sequence[str] = ()) -> SearchPlan:
    """A plan from a TOML file; files and folders in it are looked for beside it.

    Args:
        path: The file.
        changes: Nested settings that replace the file's.
        settings: Further ones as `key=value`, such as `space.step=0.05`.

    Raises:
        As `make_plan`; BadInput also where the file is not there or no TOML.
    """
    return make_plan(plan_content(path, changes or {}), settings)


def plan_content(path: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in the file of a plan, files and folders in it looked for beside it.

    Args:
        path: The file.
        changes: Nested settings that replace the file's.

    Raises:
        BadInput: the file is not there or no TOML, or has a setting under two keys.
    """
    text = read_toml(path, "give the file of a plan, or --ingredient and --data")
    content = at_todays_keys(text, SearchPlan)
    if isinstance(content.get("ingredients"), dict):
        content["ingredients"] = {name: _beside(path, value) for name, value in content["ingredients"].items()}
    if isinstance(content.get("network"), dict) and "architecture" in content["network"]:
        content["network"]["architecture"] = _beside(path, content["network"]["architecture"])
    if isinstance(content.get("candidates"), dict):
        content["candidates"] = {name: _candidate_beside(path, each) for name, each in content["candidates"].items()}
    content.setdefault("folder", str(path.parent))
    for name, value in at_todays_keys(changes, SearchPlan).items():
        there = content.get(name)
        merged = isinstance(there, dict) and isinstance(value, Mapping) and name in ("network", "reading", "attack")
        content[name] = {**(there or {}), **value} if merged else value
    return content


def make_plan(content: Mapping[str, Any], settings: Sequence[str] = ()) -> SearchPlan:
    """A plan from its content, and from settings as `key=value` that replace parts of it.

    Raises:
        BadInput: settings are unknown, missing or out of range; all are listed. Or the front is of one objective, or
            the space has no soup of an objective's ingredients.
        UnknownName: no such strategy, task or objective.
    """
    plan = read_spec(with_settings(content, settings, SearchPlan), SearchPlan)
    if plan.strategy not in STRATEGIES:
        raise UnknownName("strategy", plan.strategy, STRATEGIES)
    objectives = objectives_of(plan)
    for names in dict.fromkeys(objective.ingredients for objective in objectives):
        if names or plan.space.kind != "simplex":  # a simplex of all has points, and may have many
            points_of(plan, names)
    require_front(plan, objectives, plan.asked().trusted)
    return plan


def require_front(plan: SearchPlan, objectives: Sequence[SearchObjective], trusted: Sequence[str] = ()) -> None:
    """Refuse a front of one objective, or of some that there are not.

    Args:
        plan: The search.
        objectives: Its objectives.
        trusted: Data sets that were not looked at yet: names below theirs may be parts.

    Raises:
        UnknownName: no such objective.
        BadInput: a front of one, or of objectives without a common ingredient.
    """
    names = [objective.name for objective in objectives]
    for name in plan.pareto:
        if name not in names and not name.startswith(tuple(f"{data}/" for data in trusted)):
            raise UnknownName("objective of the Pareto front", name, names)
    if len(plan.pareto) == 1:
        raise BadInput(f"a Pareto front over {plan.pareto[0]!r} alone: give at least two objectives")
    if not shared_ingredients(plan, [objective for objective in objectives if objective.name in plan.pareto]):
        raise BadInput(
            f"a Pareto front over {' and '.join(plan.pareto)}, which have no ingredient in common: a soup of the front "
            "must be one that all of them may choose"
        )


def shared_ingredients(plan: SearchPlan, objectives: Sequence[SearchObjective]) -> tuple[str, ...]:
    """The ingredients that soups of several objectives may be made of, in the order of the weights."""
    return tuple(
        name
        for name in plan.ingredients
        if all(not objective.ingredients or name in objective.ingredients for objective in objectives)
    )


def _beside(plan: Path, value: object) -> object:
    """The name of a file, a folder or a part of either (`FILE:NAME`) as beside the plan, if it lies there."""
    text = str(value)
    # A folder of a published model is named with what it is; where it lies comes after it.
    kind, folder = (text[: len(_LOCAL)], text[len(_LOCAL) :]) if text.startswith(_LOCAL) else ("", text)
    here = str(plan.parent / folder)
    there = folder != "" and (Path(here).exists() or (":" in folder and Path(here.rpartition(":")[0]).is_file()))
    return f"{kind}{here}" if there else value


def _candidate_beside(plan: Path, value: object) -> object:
    if not isinstance(value, Mapping):
        return _beside(plan, value)
    places = {name: _beside(plan, value[name]) for name in ("file", "architecture") if name in value}
    return {**value, **places}
