"""The run record: what a search is and came to, and what was evaluated, as typed notes in the store of each.

They are written and read here alone.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from seasoning.config.base import Spec
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.search import SearchPlan
from seasoning.config.sections import NetworkSection
from seasoning.errors import BadInput
from seasoning.selection import SearchObjective
from seasoning.selection.answers import Answer, FrontSoup
from seasoning.store.database import Store


__all__ = [
    "BatchSizeNote",
    "CandidateNote",
    "EpochNote",
    "EvaluationNote",
    "IngredientNote",
    "NetworkNote",
    "PartsNote",
    "RunRecord",
    "note_evaluation",
    "read_batch_sizes",
    "read_evaluations",
    "read_record",
    "read_request",
    "write_batch_sizes",
    "write_record",
    "write_request",
]

_RECORD, _REQUEST, _EVALUATIONS, _BATCH_SIZES = "run", "request", "evaluations", "batch sizes"
# Notes of versions before the run record.
_EARLIER = ("spec", "search", "begun", "search attacks")


class EpochNote(Spec):
    """Validation accuracy after an epoch (from 1), under attack too where the training had a threat."""

    epoch: int
    clean: float
    robust: float | None


class IngredientNote(Spec):
    """An ingredient: its name in the plan, its file, and what the file says of its training."""

    name: str
    path: str
    fingerprint: str
    threat: str | None
    epoch: int | None
    epochs: int | None
    gradients: int | None
    curve: tuple[EpochNote, ...]


class CandidateNote(Spec):
    """A model beside the soups: its name in the plan, its file, its architecture, and what tells it from others."""

    name: str
    path: str
    architecture: str
    fingerprint: str


class NetworkNote(Spec):
    """The network that all soups of a folder are put into; `options` in words, `code` of one from a user's file."""

    architecture: str
    options: dict[str, str]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    code: str = ""


class PartsNote(Spec):
    """Fingerprints of the samples of a task that choose, and of those that only test; `None` where none are left."""

    selection: str
    test: str | None


class BatchSizeNote(Spec):
    """Most images in the model at a time, and how many it wanted: more, where memory had no room for them."""

    size: int
    wanted: int


class RunRecord(Spec):
    """A search.

    Args:
        plan: What was asked.
        network: What soups were put into.
        ingredients: In the order of the weights.
        candidates: Other models that are measured beside the soups.
        columns: The columns of a table, by name: the texts of the tasks of each.
        objectives: What soups should be best at.
        attacks: Name and options of the attack of each attacked task.
        confirming: Of the stronger attack, where there is one.
        parts: The samples of each clean task.
        selection: Ids of all selection points.
        space: Points of the space.
        answers: One for each objective, its soup by the name of the file in the folder; `None` while the search is
            unfinished.
        front: The Pareto front, and among which soups.
    """

    layout: Literal[2] = 2
    plan: SearchPlan
    network: NetworkNote
    ingredients: tuple[IngredientNote, ...]
    candidates: tuple[CandidateNote, ...] = ()
    columns: dict[str, tuple[str, ...]]
    objectives: tuple[SearchObjective, ...]
    attacks: dict[str, str]
    confirming: dict[str, str]
    parts: dict[str, PartsNote]
    selection: tuple[int, ...]
    space: int
    answers: tuple[Answer, ...] | None = None
    front: tuple[FrontSoup, ...] = ()
    front_scope: str = ""

    @property
    def begun(self) -> "RunRecord":
        """The same before anything came of it."""
        return self.model_copy(update={"answers": None, "front": (), "front_scope": ""})


class EvaluationNote(Spec):
    """What `evaluate` has measured of a checkpoint, or of the ensemble of several.

    Args:
        checkpoints: As they were given.
        networks: What each was put into.
        spec: What was asked.
        images: By the name of each data set, how many of its images were measured, and how many there are.
    """

    checkpoints: tuple[str, ...]
    networks: tuple[NetworkSection, ...]
    spec: EvaluateSpec
    images: dict[str, tuple[int, int]]


def read_record(store: Store) -> RunRecord | None:
    """The record of the search in a store; `None` where there is none yet.

    Raises:
        BadInput: it is of another version.
    """
    note = store.note(_RECORD)
    if note is None:
        if any(store.note(name) is not None for name in _EARLIER):
            raise BadInput(
                "the folder holds a run of another version of seasoning: report it with that one, or run it again in "
                "another folder"
            )
        return None
    try:
        return RunRecord.model_validate(note)
    except ValidationError as error:
        raise BadInput(
            "the folder holds a run of another version of seasoning, or a damaged record "
            f"({error.error_count()} notes cannot be read): run it again in another folder"
        ) from error


def write_record(store: Store, record: RunRecord) -> None:
    """Keep the record; it replaces an earlier one."""
    store.write_note(_RECORD, record.model_dump(mode="json"))


def read_batch_sizes(store: Store) -> dict[str, BatchSizeNote]:
    """How many images a run's network is given at a time, by their shape, such as `"3x32x32"`."""
    return {shape: BatchSizeNote.model_validate(each) for shape, each in (store.note(_BATCH_SIZES) or {}).items()}


def write_batch_sizes(store: Store, sizes: Mapping[str, BatchSizeNote]) -> None:
    """Keep them; they replace earlier ones."""
    store.write_note(_BATCH_SIZES, {shape: each.model_dump() for shape, each in sizes.items()})


def read_request(store: Store) -> dict[str, Any] | None:
    """What a run of several steps, such as `seasoning demo`, was asked for; `None` where it was not asked."""
    request: dict[str, Any] | None = store.note(_REQUEST)
    return request


def write_request(store: Store, request: Mapping[str, Any]) -> None:
    """Keep what a run of several steps was asked for."""
    store.write_note(_REQUEST, dict(request))


def read_evaluations(store: Store) -> list[EvaluationNote]:
    """What `evaluate` has measured in a store, each once, in the order of asking."""
    return [EvaluationNote.model_validate(note) for note in store.note(_EVALUATIONS) or ()]


def note_evaluation(store: Store, note: EvaluationNote) -> None:
    """Keep what `evaluate` has measured, unless that was noted before."""
    there, new = store.note(_EVALUATIONS) or [], note.model_dump(mode="json")
    if new not in there:
        store.write_note(_EVALUATIONS, [*there, new])
