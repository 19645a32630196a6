"""What a search measures and what soups should be best at, from names to tasks and objectives.

A data set of many parts, such as ImageNet-C, is measured as many tasks. Its own name means the plain mean over them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field, model_validator

from seasoning.config.base import Fraction, Positive, Spec
from seasoning.errors import BadInput, UnknownName
from seasoning.selection import Limit, SearchObjective, Term
from seasoning.task import Task
from seasoning.threat import Threat


__all__ = ["WAYS", "Asked", "SearchObjectiveSpec", "ask", "search_objectives"]

# What an objective may be besides a task: the mean over data sets, each task by itself, the union of all threats, or
# a weighted sum.
WAYS = ("mean", "each", "union", "weighted")


class SearchObjectiveSpec(Spec):
    """What a soup should be best at."""

    best: str = Field(description="mean, each, union, weighted, or a task or a data set by its name.")
    name: str | None = Field(default=None, description="Name of the objective; by default that of `best`.")
    tasks: tuple[str, ...] = Field(
        default=(), description="Tasks, or data sets of many parts, of the mean, of each or of the union."
    )
    weights: dict[str, Positive] = Field(default={}, description="Weights of a weighted sum, by task or union.")
    ingredients: tuple[str, ...] = Field(default=(), description="Only soups of these ingredients; by default of all.")
    at_least: dict[str, Fraction] = Field(default={}, description="Least accuracy, by task or union.")

    @model_validator(mode="after")
    def _weights_where_weighted(self) -> "SearchObjectiveSpec":
        if (self.best == "weighted") != bool(self.weights):
            raise ValueError("weights go with best='weighted', such as weights={clean=0.7, union=0.3}")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """What a search measures.

    Args:
        tasks: Every task by its text.
        columns: The columns of a table, and what an objective may name: the texts of the tasks of each. One column is
            one data set or shift, clean or under one threat; a data set of many parts has a task for each part.
        trusted: Data sets that were not looked at yet: names below theirs may be parts.
    """

    tasks: dict[str, Task]
    columns: dict[str, tuple[str, ...]]
    trusted: tuple[str, ...] = ()

    def of(self, name: str) -> tuple[str, ...]:
        """The tasks that a name stands for.

        Raises:
            UnknownName: for none.
        """
        if name in self.columns:
            return self.columns[name]
        if name in self.tasks or name.startswith(tuple(f"{source}/" for source in self.trusted)):
            return (name,)
        what = "task (measure it: add its data, shift or threat to the plan)"
        raise UnknownName(what, name, dict.fromkeys([*self.columns, *self.tasks, *WAYS]))

    def clean(self) -> list[str]:
        """The columns of a table: data sets and shifts."""
        return [name for name, tasks in self.columns.items() if self.tasks[tasks[0]].threat is None]

    def attacked(self) -> list[str]:
        """Data sets under a threat each."""
        return [name for name, tasks in self.columns.items() if self.tasks[tasks[0]].threat is not None]


def ask(
    data: Sequence[str],
    shifts: Sequence[str],
    attacked: Sequence[str],
    threats: Sequence[str],
    parts: Mapping[str, Sequence[str]] | None,
) -> Asked:
    """What a search measures.

    Args:
        data: Names of the data sets.
        shifts: Names of the shifted ones, below that of the first data set.
        attacked: Data sets, or parts of some, under the threats.
        threats: The threats.
        parts: Of data sets of many parts, the names of the parts; `None` before any data set is looked at.

    Raises:
        UnknownName: no such data set to attack.
        BadInput: two data sets of one name, or a shift of a data set of many parts.
    """
    if shifts and parts and data[0] in parts:
        raise BadInput(
            f"shifts are made of the first data set, and {data[0]!r} has {len(parts[data[0]])} parts: put another first"
        )
    columns = {name: tuple((parts or {}).get(name, (name,))) for name in data} | {name: (name,) for name in shifts}
    sets = [task for name in columns for task in columns[name]]
    twice = next((name for name in sets if sets.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"two data sets are called {twice!r}: give one of them another name")
    tasks = {name: Task.parse(name) for name in sets}
    trusted = () if parts is not None else tuple(data)
    under = {}
    for name in attacked:
        if name not in columns and name not in sets:
            if name.startswith(tuple(f"{source}/" for source in trusted)):
                continue
            raise UnknownName("data set to attack", name, [*columns, *sets])
        for threat in threats:
            attacked_parts = [tasks[part].under(Threat.parse(threat)) for part in columns.get(name, (name,))]
            tasks |= {str(task): task for task in attacked_parts}
            under[f"{name}@{threat}"] = tuple(map(str, attacked_parts))
    return Asked(tasks, columns | under, trusted)


def search_objectives(specs: Sequence[SearchObjectiveSpec], asked: Asked) -> list[SearchObjective]:
    """Objectives, those of `each` one by one; without any, all that the data allow.

    Raises:
        UnknownName: an objective over a task that is not measured.
        BadInput: a union without threats, or of different data sets; or two objectives of one name.
    """
    made = [(spec, objective) for spec in specs or _default(asked) for objective in _objectives(spec, asked)]
    found = [objective for _, objective in made]
    # Of a data set that was not looked at yet, `each` may mean its parts and not what its own name means.
    sure = [
        objective.name
        for spec, objective in made
        if spec.best != "each" or objective.name.partition("@")[0] not in asked.trusted
    ]
    twice = next((name for name in sure if sure.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"two objectives are called {twice!r}: give one of them another name")
    return found


def _default(asked: Asked) -> list[SearchObjectiveSpec]:
    given = [SearchObjectiveSpec(best="each")]
    # The one soup for all parts of a data set, beside the specific one of each part.
    given += [SearchObjectiveSpec(best=name) for name, tasks in asked.columns.items() if tasks != (name,)]
    if len(asked.clean()) > 1:
        given.insert(0, SearchObjectiveSpec(best="mean"))
    if len(asked.attacked()) > 1:
        given.insert(0, SearchObjectiveSpec(best="union"))
    return given


def _objectives(spec: SearchObjectiveSpec, asked: Asked) -> list[SearchObjective]:
    for name in spec.tasks:
        asked.of(name)
    limits = tuple(_limit(name, least, asked) for name, least in spec.at_least.items())
    if spec.best == "mean":
        columns = spec.tasks or asked.clean()
        made = [
            SearchObjective("mean", tuple(term for name in columns for term in _terms([name], 1 / len(columns), asked)))
        ]
    elif spec.best == "each":
        tasks = dict.fromkeys(task for name in spec.tasks or asked.tasks for task in asked.of(name))
        made = [SearchObjective(task, (Term((task,)),)) for task in tasks]
    elif spec.best == "weighted":
        parts = [_terms(_joined(name, (), asked), weight, asked) for name, weight in spec.weights.items()]
        made = [SearchObjective(spec.name or "weighted", tuple(term for terms in parts for term in terms))]
    else:
        made = [SearchObjective(spec.best, _terms(_joined(spec.best, spec.tasks, asked), 1.0, asked))]
    named = [spec.name if spec.name and len(made) == 1 else objective.name for objective in made]
    return [
        SearchObjective(name, objective.terms, limits, spec.ingredients)
        for name, objective in zip(named, made, strict=True)
    ]


def _limit(name: str, least: float, asked: Asked) -> Limit:
    first, *more = (term.tasks for term in _terms(_joined(name, (), asked), 1.0, asked))
    return Limit(first, least, tuple(more), name if more else "")


def _terms(names: Sequence[str], weight: float, asked: Asked) -> tuple[Term, ...]:
    """The fraction right on all that is named: of data sets of parts, the plain mean over the parts."""
    parts = list(zip(*[asked.of(name) for name in names], strict=True))
    return tuple(Term(tasks, weight / len(parts)) for tasks in parts)


def _joined(name: str, tasks: Sequence[str], asked: Asked) -> Sequence[str]:
    """The names on all of which a sample must be right: those of the union, or one."""
    if name != "union":
        asked.of(name)
        return (name,)
    chosen = tuple(tasks) or asked.attacked()
    sets = {str(Task.parse(column).clean) for column in chosen}
    if not chosen or len(sets) > 1:
        what = f"data sets {', '.join(sorted(sets))}" if sets else "no threats"
        raise BadInput(f"a union over {what}: give threats, and with several attacked data sets the union's tasks")
    return chosen
