"""The records everything else is computed from: what was asked, and what became of every sample."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput


__all__ = ["Measured", "Measurement", "ModelKey", "Outcomes", "Status", "concatenate"]


class Status(IntEnum):
    """Whether a sample was measured; a sample that was not is neither right nor wrong."""

    MISSING = 0
    MEASURED = 1


@dataclass(frozen=True, slots=True)
class ModelKey:
    """The identity of a model made of ingredients, without its parameters.

    Args:
        kind: `"soup"` (one network of mixed parameters) or `"ensemble"` (mean probabilities of its members).
        parts: `(fingerprint of the ingredient, weight)` for every weight that is not 0.
        policy: What was done with the normalization statistics (`"mix"`).

    An ingredient is the soup in which its own weight is 1, so both names find the same outcomes.
    """

    kind: str
    parts: tuple[tuple[str, float], ...]
    policy: str = "mix"

    @classmethod
    def of(cls, fingerprints: Sequence[str], weights: Sequence[float], kind: str = "soup") -> "ModelKey":
        """Key of a mix, given one weight for each ingredient."""
        parts = zip(fingerprints, weights, strict=True)
        return cls(kind, tuple((fingerprint, float(weight)) for fingerprint, weight in parts if weight != 0))


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was asked: one model on one data set, clean (`threat` is `None`) or under one attack.

    Args:
        model: Identity of the model.
        data: Name of the samples, such as `"digits/test"` or `"digits/test/blur"`.
        samples: Fingerprint of their ids, labels and pixels.
        threat: Text of the threat, such as `"linf:8/255"`.
        attack: Name and options of the attack.
        seed: Seed of its random starts.
        smoke: Whether it was made to try the machinery; such a measurement never answers a real request.
        precision: Of the passes: `"full"`, or `"bf16"` while a search looks around.
    """

    model: ModelKey
    data: str
    samples: str
    threat: str | None = None
    attack: str | None = None
    seed: int = 0
    smoke: bool = False
    precision: str = "full"

    def to_json(self) -> str:
        """Canonical text: the same for equal measurements, on every machine."""
        columns = asdict(self)
        # Came later than the first stores: left out where it says nothing, so that their keys still hold.
        if self.precision == "full":
            del columns["precision"]
        return json.dumps(columns, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Measurement":
        """Read what `to_json` wrote."""
        columns: dict[str, Any] = json.loads(text)
        model = columns.pop("model")
        parts = tuple((fingerprint, weight) for fingerprint, weight in model["parts"])
        return cls(model=ModelKey(model["kind"], parts, model["policy"]), **columns)

    @property
    def key(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """One row for each sample; every number of a report is a pure function of such columns.

    Args:
        ids: Sample ids, `(N,)` int64; derived data sets keep the id of the image they were made from.
        labels: Classes, `(N,)` int64.
        clean: Predicted classes of the clean images, `(N,)` int64.
        adversarial: Predicted classes under attack, `(N,)` int64; equal to `clean` where nothing was attacked.
        clean_margin: Logit of the label minus the largest other one at the clean image, `(N,)` float32.
        margin: The same at the adversarial image; below 0 where it fools the model.
        distance: Size of the perturbation in the threat's norm, `(N,)` float32; 0 where none was found.
        gradients: Gradients that the attack used on the sample, `(N,)` int64.
        forwards: Forward passes of the sample, clean and attacked, with or without a gradient, `(N,)` int64.
        status: `Status` of the row, `(N,)` int8.
        unmasked: Where only some of the model's classes count, the class predicted among all of them at the clean
            image, `(N,)` int64; -1 for a class that the data set does not have.
        valid: Where several classes are right, all of them, `(N, L)` int64, filled up with -1.
        texture: Of conflict stimuli, the class of the texture, `(N,)` int64; the label is that of the shape.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    clean: NDArray[np.int64]
    adversarial: NDArray[np.int64]
    clean_margin: NDArray[np.float32]
    margin: NDArray[np.float32]
    distance: NDArray[np.float32]
    gradients: NDArray[np.int64]
    forwards: NDArray[np.int64]
    status: NDArray[np.int8]
    unmasked: NDArray[np.int64] | None = None
    valid: NDArray[np.int64] | None = None
    texture: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns().items()}
        if len(set(lengths.values())) != 1:
            raise BadInput(f"columns of different lengths: {lengths}; give one entry for each sample")
        if len(np.unique(self.ids)) != len(self.ids):
            raise BadInput("a sample id occurs twice: every sample counts once, give each an id of its own")

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name, in order; those that the data set has no use for are left out."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in columns.items() if column is not None}

    def take(self, rows: NDArray[Any]) -> "Outcomes":
        """The rows that a mask or an index picks."""
        return Outcomes(**{name: column[rows] for name, column in self.columns().items()})

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which rows were measured, `(N,)`."""
        rows: NDArray[np.bool_] = self.status == Status.MEASURED
        return rows

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which clean images are classified correctly, `(N,)`."""
        return self._right(self.clean)

    @property
    def robust(self) -> NDArray[np.bool_]:
        """Which samples are right both clean and under attack, `(N,)`."""
        return self.correct & self._right(self.adversarial)

    def _right(self, predicted: NDArray[np.int64]) -> NDArray[np.bool_]:
        rows: NDArray[np.bool_] = predicted == self.labels
        return rows if self.valid is None else rows | (predicted[:, None] == self.valid).any(1)


# What a strategy is sent of one soup: its outcomes on every task that it was asked about.
Measured = Mapping[str, Outcomes]


def concatenate(blocks: Sequence[Outcomes]) -> Outcomes:
    """The rows of several blocks in their order.

    Raises:
        BadInput: there is no block, a sample occurs in two of them, or their columns differ.
    """
    if not blocks:
        raise BadInput("no blocks of outcomes: measure at least one sample")
    names = blocks[0].columns()
    if any(block.columns().keys() != names.keys() for block in blocks):
        raise BadInput("blocks with different columns: they are of different data sets, join those of one")
    return Outcomes(**{name: np.concatenate([block.columns()[name] for block in blocks]) for name in names})
