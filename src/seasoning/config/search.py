"""The plan of a search as frozen values, read from TOML; all mistakes are listed together before any work starts."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from seasoning.config.base import complaint, parse_value
from seasoning.config.objectives import WAYS, Asked, SearchObjectiveSpec, Spec, ask, search_objectives
from seasoning.errors import BadInput, SeasoningError, UnknownName
from seasoning.selection import SearchObjective
from seasoning.strategies import STRATEGIES, Weights, box, ladder, line, simplex
from seasoning.threat import Threat


__all__ = [
    "AttackSpec",
    "SearchObjectiveSpec",
    "SearchPlan",
    "SpaceSpec",
    "make_plan",
    "objectives_of",
    "points_of",
    "read_plan",
    "require_front",
]

# Names that a data set would be mistaken for something else by, in an objective or on the page.
_TAKEN = ("clean", *WAYS)

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SpaceSpec(Spec):
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


class AttackSpec(Spec):
    """How soups are attacked."""

    suite: str = Field(default="default", description="Named protocol of the numbers that count.")
    steps: Count | None = Field(default=None, description="Steps of every attack instead of the protocol's own.")
    rough_steps: Count = Field(
        default=20, description="Steps while a search looks around; half as many again for l_1, which needs more."
    )
    loss: str | None = Field(default=None, description="Loss of the protocol's AutoPGD, for models of few classes.")


class SearchPlan(Spec):
    """A search: ingredients, data, what is tried, and what soups should be best at."""

    ingredients: dict[str, str] = Field(description="Names and files of the checkpoints, in the order of the weights.")
    architecture: str = Field(description="Architecture, as for `seasoning evaluate`.")
    options: dict[str, Any] = Field(default={}, description="Further arguments of the architecture.")
    mean: tuple[float, ...] | None = Field(default=None, description="Mean of each channel that images are less by.")
    std: tuple[float, ...] | None = Field(default=None, description="Standard deviation of each channel.")
    batch_norm: Literal["mix", "geometric"] = Field(default="mix", description="What becomes of running variances.")
    data: dict[str, str] = Field(
        description="Names and places of labelled images, as for `seasoning evaluate`; the first one is the main one."
    )
    folder: str = Field(default=".", description="Where folders of images are looked for; by default beside the plan.")
    shifts: tuple[str, ...] = Field(default=(), description="Natural shifts of the main data set to measure, too.")
    classes: tuple[str, ...] = Field(default=(), description="The model's classes; by default the main folder's.")
    transform: Literal["auto", "model", "as-is"] = Field(default="auto", description="As for `seasoning evaluate`.")
    partial: bool = Field(default=False, description="Whether published sets that are not complete are used.")
    skip_damaged: bool = Field(default=False, description="Whether images that cannot be read are left out.")
    workers: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Processes that decode images.")
    cache: str | None = Field(
        default=None, description="Folder that keeps decoded images, mapped instead of in memory."
    )
    memory_limit: Annotated[float, Field(ge=0)] = Field(
        default=4.0, description="GiB of a data set beyond which its images are kept on the disk, in the run's folder."
    )
    threats: tuple[str, ...] = Field(default=(), description="Threats, such as linf:8/255.")
    attacked: tuple[str, ...] = Field(default=(), description="Data sets under the threats; by default the main one.")
    shots: Annotated[int, Field(ge=2)] = Field(default=1000, description="Images of each data set that choose.")
    others: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Images of each data set that only measure what was chosen; by default all others."
    )
    top: Count = Field(default=3, description="Soups to report for each objective.")
    space: SpaceSpec = SpaceSpec()
    strategy: str = Field(default="climb", description="How the space is searched.")
    objectives: tuple[SearchObjectiveSpec, ...] = Field(default=(), description="By default as many as the data allow.")
    pareto: tuple[str, ...] = Field(default=(), description="Two or more objectives to draw the Pareto front of.")
    attack: AttackSpec = AttackSpec()
    precision: Literal["full", "bf16"] = Field(default="full", description="bf16 looks around in bfloat16.")
    batch_size: Count = Field(default=500, description="Most images in the model at a time.")
    time_limit: Positive | None = Field(default=None, description="Minutes that the search may take, by estimate.")
    seed: Annotated[int, Field(ge=0, le=2**62)] = Field(default=0, description="Seed of the attacks' random starts.")
    smoke: bool = Field(default=False, description="Whether it only tries the machinery; its outcomes are marked.")

    @field_validator("data")
    @classmethod
    def _not_taken(cls, data: dict[str, str]) -> dict[str, str]:
        for name in data:
            if name in _TAKEN or "@" in name:
                raise ValueError(
                    f"a data set called {name!r}: {', '.join(_TAKEN)} and names with @ mean tasks and objectives; give "
                    f"it another name, such as my-{name.replace('@', '-')}"
                )
        return data

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

    def asked(self, parts: Mapping[str, Sequence[str]] | None = None) -> Asked:
        """What is measured: every data set, clean and under the threats.

        Args:
            parts: Of data sets of many parts, the names of the parts; `None` before any data set is looked at.

        Raises:
            UnknownName: no such data set to attack.
            BadInput: two data sets of one name, or a shift of a data set of many parts.
        """
        return ask(
            list(self.data),
            [f"{self.main}/{shift}" for shift in self.shifts],
            self.attacked or (self.main,),
            self.threats,
            parts,
        )


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
    return search_objectives(plan.objectives, plan.asked(parts))


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
    require_front(plan, objectives_of(plan), plan.asked().trusted)
    return plan


def require_front(plan: SearchPlan, objectives: Sequence[SearchObjective], trusted: Sequence[str] = ()) -> None:
    """Refuse a front of one objective, or of some that there are not.

    Args:
        plan: The search.
        objectives: Its objectives.
        trusted: Data sets that were not looked at yet: names below theirs may be parts.

    Raises:
        UnknownName: no such objective.
        BadInput: a front of one.
    """
    names = [each.name for each in objectives]
    for name in plan.pareto:
        if name not in names and not name.startswith(tuple(f"{each}/" for each in trusted)):
            raise UnknownName("objective of the Pareto front", name, names)
    if len(plan.pareto) == 1:
        raise BadInput(f"a Pareto front over {plan.pareto[0]!r} alone: give at least two objectives")


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
    sections: dict[str, type[BaseModel]] = {"space": SpaceSpec, "attack": AttackSpec, "objectives": SearchObjectiveSpec}
    known = sections.get(path[0], SearchPlan) if path else SearchPlan
    if error["type"] == "extra_forbidden":
        return str(UnknownName("setting", last, known.model_fields))
    return complaint(error)


def _beside(plan: Path, place: object) -> object:
    here = plan.parent / str(place)
    return str(here) if here.is_file() else place
