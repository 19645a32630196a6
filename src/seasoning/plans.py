"""The plan of a search as frozen values, read from TOML; all mistakes are listed together before any work starts."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from seasoning.config import complaint, parse_value
from seasoning.errors import BadInput, SeasoningError, UnknownName
from seasoning.search import STRATEGIES, Weights, box, ladder, line, simplex
from seasoning.selection import Limit, Objective, Term, accuracy_on, mean_over
from seasoning.threat import Threat


__all__ = [
    "AttackSpec",
    "ObjectiveSpec",
    "SearchPlan",
    "SpaceSpec",
    "make_plan",
    "objectives_of",
    "points_of",
    "read_plan",
]

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# What an objective may be besides a task: the mean over data sets, each task by itself, the union of all threats, or
# a weighted sum.
_WAYS = ("mean", "each", "union", "weighted")


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpaceSpec(_Spec):
    """The weights that are tried."""

    kind: Literal["simplex", "box", "line", "ladder"] = Field(default="simplex", description="Shape of the space.")
    step: Annotated[float, Field(gt=0, le=1)] = Field(default=0.1, description="Weights are multiples of it.")
    low: float = Field(default=-0.4, description="Least weight in a box, or on a line.")
    high: float = Field(default=1.4, description="Largest weight in a box, or on a line.")
    groups: dict[str, str] = Field(default={}, description="Of a ladder: the group of each ingredient, as its norm.")

    @field_validator("step")
    @classmethod
    def _divides_one(cls, step: float) -> float:
        if abs(round(1 / step) * step - 1) > 1e-9:
            raise ValueError("1 is no multiple of the step: take 0.1, 0.05, 0.125 or the like")
        return step


class AttackSpec(_Spec):
    """How soups are attacked."""

    suite: str = Field(default="default", description="Named protocol of the numbers that count.")
    steps: Count | None = Field(default=None, description="Steps of every attack instead of the protocol's own.")
    rough_steps: Count = Field(
        default=20, description="Steps while a search looks around; half as many again for l_1, which needs more."
    )
    loss: str | None = Field(default=None, description="Loss of the protocol's AutoPGD, for models of few classes.")


class ObjectiveSpec(_Spec):
    """What a soup should be best at."""

    best: str = Field(description="mean, each, union, weighted, or a task by its name.")
    name: str | None = Field(default=None, description="What it is called; by default as `best`.")
    tasks: tuple[str, ...] = Field(default=(), description="Tasks of the mean, of each or of the union.")
    weights: dict[str, Positive] = Field(default={}, description="Of a weighted sum: tasks, or union, and weights.")
    at_least: dict[str, Share] = Field(default={}, description="Tasks, or union, and the least accuracy on them.")

    @model_validator(mode="after")
    def _weights_where_weighted(self) -> "ObjectiveSpec":
        if (self.best == "weighted") != bool(self.weights):
            raise ValueError("weights go with best='weighted', such as weights={clean=0.7, union=0.3}")
        return self


class SearchPlan(_Spec):
    """A search: ingredients, data, what is tried, and what soups should be best at."""

    ingredients: dict[str, str] = Field(description="Names and files of the checkpoints, in the order of the weights.")
    architecture: str = Field(description="Architecture, as for `seasoning evaluate`.")
    options: dict[str, Any] = Field(default={}, description="Further arguments of the architecture.")
    mean: tuple[float, ...] | None = Field(default=None, description="Mean of each channel that images are less by.")
    std: tuple[float, ...] | None = Field(default=None, description="Standard deviation of each channel.")
    batch_norm: Literal["mix", "geometric"] = Field(default="mix", description="What becomes of running variances.")
    data: dict[str, str] = Field(description="Names and folders of labelled images; the first one is the main one.")
    folder: str = Field(default=".", description="Where folders of images are looked for; by default beside the plan.")
    shifts: tuple[str, ...] = Field(default=(), description="Natural shifts of the main data set to measure, too.")
    classes: tuple[str, ...] = Field(default=(), description="The model's classes; by default the main folder's.")
    threats: tuple[str, ...] = Field(default=(), description="Threats, such as linf:8/255.")
    attacked: tuple[str, ...] = Field(default=(), description="Data sets under the threats; by default the main one.")
    shots: Annotated[int, Field(ge=2)] = Field(default=1000, description="Images of each data set that choose.")
    others: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Images of each data set that only measure what was chosen; by default all others."
    )
    top: Count = Field(default=3, description="Soups to report for each objective.")
    space: SpaceSpec = SpaceSpec()
    strategy: str = Field(default="climb", description="How the space is searched.")
    objectives: tuple[ObjectiveSpec, ...] = Field(default=(), description="By default as many as the data allow.")
    pareto: tuple[str, ...] = Field(default=(), description="Two or more objectives to draw the Pareto front of.")
    attack: AttackSpec = AttackSpec()
    precision: Literal["full", "bf16"] = Field(default="full", description="bf16 looks around in bfloat16.")
    batch_size: Count = Field(default=500, description="Most images in the model at a time.")
    time_limit: Positive | None = Field(default=None, description="Minutes that the search may take, by estimate.")
    seed: Annotated[int, Field(ge=0, le=2**62)] = Field(default=0, description="Seed of the attacks' random starts.")
    smoke: bool = Field(default=False, description="Whether it only tries the machinery; its outcomes are marked.")

    @field_validator("threats")
    @classmethod
    def _readable(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(str(Threat.parse(text)) for text in texts))
        except SeasoningError as error:
            # Pydantic collects only ValueErrors.
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _fits_together(self) -> "SearchPlan":
        if len(self.ingredients) < 2:
            raise ValueError(f"{len(self.ingredients)} ingredients: give at least two")
        if not self.data:
            raise ValueError("no data: give at least one folder of labelled images, or a known data set")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both, or neither for the architecture's own")
        if self.space.kind == "line" and len(self.ingredients) != 2:
            raise ValueError(f"a line through {len(self.ingredients)} ingredients: it takes two")
        if self.space.kind == "ladder" and self.space.groups.keys() != self.ingredients.keys():
            raise ValueError(f"a ladder wants the group of each ingredient: {', '.join(self.ingredients)}")
        return self

    @property
    def main(self) -> str:
        """The name of the first data set."""
        return next(iter(self.data))

    def tasks(self) -> dict[str, tuple[str, str | None]]:
        """Names of all tasks: the data set (a shift is `main/shift`) and the threat, if any, of each."""
        sets = [*self.data, *(f"{self.main}/{shift}" for shift in self.shifts)]
        tasks: dict[str, tuple[str, str | None]] = {name: (name, None) for name in sets}
        for name in self.attacked or (self.main,):
            if name not in sets:
                raise UnknownName("data set to attack", name, sets)
            tasks |= {f"{name}@{threat}": (name, threat) for threat in self.threats}
        return tasks


def points_of(plan: SearchPlan) -> list[Weights]:
    """The points of the plan's space."""
    space, count = plan.space, len(plan.ingredients)
    parts = round(1 / space.step)
    if space.kind == "box":
        return box(count, parts, space.low, space.high)
    if space.kind == "line":
        return line(parts, space.low, space.high)
    if space.kind == "ladder":
        return ladder([space.groups[name] for name in plan.ingredients], parts)
    return simplex(count, parts)


def objectives_of(plan: SearchPlan) -> list[Objective]:
    """The plan's objectives, those of `each` one by one; where it names none, all that the data allow.

    Raises:
        UnknownName: an objective over a task that the plan does not measure.
        BadInput: a union without threats; or two objectives of one name.
    """
    tasks = plan.tasks()
    given = plan.objectives or _default(tasks)
    found = [objective for each in given for objective in _objectives(each, tasks)]
    names = [each.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"two objectives are called {twice!r}: give one of them another name")
    return found


def read_plan(path: Path, changes: Mapping[str, Any] | None = None, settings: Sequence[str] = ()) -> SearchPlan:
    """A plan from a TOML file; files and folders in it are looked for beside it.

    Args:
        path: The file.
        changes: Settings that take the place of the file's.
        settings: Further ones as `key=value`, such as `space.step=0.05`.

    Raises:
        As `make_plan`; BadInput also where the file is not there or no TOML.
    """
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise BadInput(f"{path} is not there: give the file of a plan, or --ingredient and --data") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no TOML ({error})") from error
    if isinstance(content.get("ingredients"), dict):
        content["ingredients"] = {name: _beside(path, place) for name, place in content["ingredients"].items()}
    content.setdefault("folder", str(path.parent))
    return make_plan(content | dict(changes or {}), settings)


def make_plan(content: Mapping[str, Any], settings: Sequence[str] = ()) -> SearchPlan:
    """A plan from its content, and from settings as `key=value` that take its place.

    Raises:
        BadInput: settings are unknown, missing or out of range; all are listed. Or the front is of one objective.
        UnknownName: no such strategy, task or objective.
    """
    try:
        plan = SearchPlan.model_validate(_with_settings(content, settings))
    except ValidationError as error:
        raise BadInput("\n".join(map(_told, error.errors()))) from error
    if plan.strategy not in STRATEGIES:
        raise UnknownName("strategy", plan.strategy, STRATEGIES)
    names = [each.name for each in objectives_of(plan)]
    for name in plan.pareto:
        if name not in names:
            raise UnknownName("objective of the Pareto front", name, names)
    if len(plan.pareto) == 1:
        raise BadInput(f"a Pareto front over {plan.pareto[0]!r} alone: give at least two objectives")
    return plan


def _with_settings(content: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    changed = dict(content)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise BadInput(f"setting {setting!r}: expected key=value, such as space.step=0.05")
        *path, last = key.split(".")
        section = changed
        for name in path:
            section[name] = dict(section.get(name, {}))
            section = section[name]
        section[last] = parse_value(text)
    return changed


def _told(error: Any) -> str:
    """A complaint; for a setting that there is not, with the nearest that there is."""
    *path, last = map(str, error["loc"]) if error["loc"] else ("",)
    sections: dict[str, type[BaseModel]] = {"space": SpaceSpec, "attack": AttackSpec, "objectives": ObjectiveSpec}
    known = sections.get(path[0], SearchPlan) if path else SearchPlan
    if error["type"] == "extra_forbidden":
        return str(UnknownName("setting", last, known.model_fields))
    return complaint(error)


def _beside(plan: Path, place: object) -> object:
    here = plan.parent / str(place)
    return str(here) if here.is_file() else place


def _default(tasks: Mapping[str, tuple[str, str | None]]) -> list[ObjectiveSpec]:
    clean, attacked = _clean(tasks), _attacked(tasks)
    given = [ObjectiveSpec(best="each")]
    if len(clean) > 1:
        given.insert(0, ObjectiveSpec(best="mean"))
    if len(attacked) > 1:
        given.insert(0, ObjectiveSpec(best="union"))
    return given


def _objectives(spec: ObjectiveSpec, tasks: Mapping[str, tuple[str, str | None]]) -> list[Objective]:
    for name in spec.tasks:
        _known(name, tasks)
    limits = tuple(Limit(_joint(name, (), tasks), least) for name, least in spec.at_least.items())
    if spec.best == "mean":
        made = [mean_over(spec.tasks or _clean(tasks))]
    elif spec.best == "each":
        made = [accuracy_on(task) for task in spec.tasks or tasks]
    elif spec.best == "weighted":
        made = [
            Objective(
                spec.name or "weighted",
                tuple(Term(_joint(name, (), tasks), weight) for name, weight in spec.weights.items()),
            )
        ]
    else:
        made = [Objective(spec.best, (Term(_joint(spec.best, spec.tasks, tasks)),))]
    named = [spec.name if spec.name and len(made) == 1 else each.name for each in made]
    return [Objective(name, each.terms, limits) for name, each in zip(named, made, strict=True)]


def _joint(name: str, tasks: tuple[str, ...], known: Mapping[str, tuple[str, str | None]]) -> tuple[str, ...]:
    """The tasks on all of which a sample must be right: those of the union, or one."""
    if name != "union":
        return (_known(name, known),)
    chosen = tasks or _attacked(known)
    sets = {known[task][0] for task in chosen}
    if not chosen or len(sets) > 1:
        what = f"data sets {', '.join(sorted(sets))}" if sets else "no threats"
        raise BadInput(f"a union over {what}: give threats, and with several attacked data sets the union's tasks")
    return tuple(chosen)


def _known(name: str, tasks: Mapping[str, object]) -> str:
    if name not in tasks:
        raise UnknownName("task (measure it: add its data, shift or threat to the plan)", name, [*tasks, *_WAYS])
    return name


def _clean(tasks: Mapping[str, tuple[str, str | None]]) -> tuple[str, ...]:
    return tuple(task for task, (_, threat) in tasks.items() if threat is None)


def _attacked(tasks: Mapping[str, tuple[str, str | None]]) -> tuple[str, ...]:
    return tuple(task for task, (_, threat) in tasks.items() if threat is not None)
