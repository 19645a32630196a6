"""Several checkpoints in one form, so that they can be mixed: the same names and types, and what each normalizes by."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoints.adapters import shared_names
from seasoning.checkpoints.class_names import agreed_names, names_beside
from seasoning.checkpoints.constants import Constants, agreed, carried
from seasoning.checkpoints.load import Form, State, form_of, open_checkpoint
from seasoning.checkpoints.provenance import said_beside


__all__ = ["Ingredients", "SharedForm", "load_ingredients", "normalized_by", "shared_form"]

_log = logging.getLogger(__name__)


class SharedForm(NamedTuple):
    """How the tensors of one checkpoint are called and typed together with those of others.

    Args:
        names: Shared names, each with its own name; `None` for a counter that the checkpoint lacks.
        types: Shared names, each with the widest type that any checkpoint has.
    """

    names: Mapping[str, str | None]
    types: Mapping[str, torch.dtype]

    def changes(self, forms: Mapping[str, Form]) -> bool:
        """Whether names or types of a checkpoint of these forms become others."""
        if len(self.names) != len(forms):
            return True
        return any(name != own or self.types[name] != forms[own].dtype for name, own in self.names.items())


class Ingredients(NamedTuple):
    """Checkpoints in one form.

    Args:
        names: What each is called.
        checkpoints: Names and tensors of each as in its file.
        states: Tensors under the same names and of the same types, read when asked for; they differ in more only where
            the checkpoints do not fit together.
        constants: By what each normalizes images, wherever it says so; `None` where it does not.
        outside: The same, as far as no tensor in the states themselves says it.
        classes: The classes of each in the order of its logits, wherever it says so; `None` where it does not.
    """

    names: list[str]
    checkpoints: list[State]
    states: list[State]
    constants: list[Constants | None]
    outside: list[Constants | None]
    classes: list[tuple[str, ...] | None]

    def first(self, count: int) -> "Ingredients":
        """The first so many of them."""
        return Ingredients(*(part[:count] for part in self))  # type: ignore[arg-type]

    def agreed(self) -> Constants | None:
        """The constants that a network of these ingredients is to be built with; `None` where none are known.

        Where the states carry them as tensors, the network takes them from there.

        Raises:
            Mismatch: two ingredients normalize images differently.
        """
        agreed(zip(self.names, self.constants, strict=True))
        return agreed(zip(self.names, self.outside, strict=True))

    def agreed_classes(self) -> tuple[str, ...] | None:
        """The classes in the order of the logits; `None` where no ingredient names them.

        Raises:
            Mismatch: two ingredients name them in different orders.
        """
        return agreed_names(zip(self.names, self.classes, strict=True))


def load_ingredients(sources: Sequence[str | Path], names: Sequence[str] | None = None) -> Ingredients:
    """Checkpoints in one form: what differs in names of wrappers and of other code, in counters or in precision, fits.

    What else differs is left for `mix` and `check_mixable` to refuse.

    Args:
        sources: Each as `load_ingredient` takes it.
        names: What they are called; by default by their sources.

    Raises:
        As `load_ingredient`; Mismatch where one checkpoint says two things of its normalization.
    """
    called = list(map(str, sources)) if names is None else list(names)
    checkpoints = [open_checkpoint(source) for source in sources]
    shared = shared_form(
        [{name: form_of(checkpoint, name) for name in checkpoint} for checkpoint in checkpoints], called
    )
    states: list[State] = [
        checkpoint if form is None else _Shared(checkpoint, form)
        for checkpoint, form in zip(checkpoints, shared, strict=True)
    ]
    said = [said_beside(checkpoint.entries, who) for who, checkpoint in zip(called, checkpoints, strict=True)]
    constants, outside = normalized_by(called, said, checkpoints, states)
    classes = [
        names_beside(checkpoint.entries, source) for checkpoint, source in zip(checkpoints, sources, strict=True)
    ]
    return Ingredients(called, list(checkpoints), states, constants, outside, classes)


def shared_form(forms: Sequence[Mapping[str, Form]], called: Sequence[str]) -> list[SharedForm | None]:
    """How checkpoints of these forms become one; `None` for one that stays as it is. What is changed is said."""
    plans, notes = shared_names([list(form) for form in forms], called)
    own = [
        {name: torch.int64 if given is None else form[given].dtype for name, given in plan.items()}
        for form, plan in zip(forms, plans, strict=True)
    ]
    widest: dict[str, torch.dtype] = {}
    for types in own:
        for name, dtype in types.items():
            widest[name] = _wider(widest.get(name, dtype), dtype)
    shared: list[SharedForm | None] = []
    for who, form, plan, types in zip(called, forms, plans, own, strict=True):
        # Numbers of different kinds stay what they are, for the caller to refuse.
        wide = {name: widest[name] if _alike(widest[name], dtype) else dtype for name, dtype in types.items()}
        changed = next(((types[name], wide[name]) for name in types if types[name] != wide[name]), None)
        if changed:
            notes.append(f"{who}: {changed[0]} beside {changed[1]} in other ingredients, mixed in the wider type")
        one = SharedForm(plan, wide)
        shared.append(one if one.changes(form) else None)
    for note in notes:
        _log.info("%s", note)
    return shared


def normalized_by(
    called: Sequence[str], said: Sequence[Constants | None], before: Sequence[State], after: Sequence[State]
) -> tuple[list[Constants | None], list[Constants | None]]:
    """By what each checkpoint normalizes images, and of that what no tensor of its state in one form says.

    Args:
        called: What each is called.
        said: What each says beside its tensors.
        before: The tensors of each, as they are in its file.
        after: In the form that all share.

    Raises:
        Mismatch: one checkpoint says two things.
    """
    constants, outside = [], []
    for who, beside, own, shared in zip(called, said, before, after, strict=True):
        tensors = carried(own)
        constants.append(
            agreed([(f"what stands beside the tensors of {who}", beside), (f"a tensor of {who}", tensors)])
        )
        outside.append(beside if tensors is None or carried(shared) is not None else tensors)
    return constants, outside


class _Shared(Mapping[str, Tensor]):
    """Tensors of a checkpoint in the form that it shares with others."""

    def __init__(self, checkpoint: State, form: SharedForm) -> None:
        self._checkpoint, self._form = checkpoint, form

    def __getitem__(self, name: str) -> Tensor:
        own, dtype = self._form.names[name], self._form.types[name]
        return torch.zeros((), dtype=dtype) if own is None else self._checkpoint[own].to(dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._form.names)

    def __len__(self) -> int:
        return len(self._form.names)

    def __contains__(self, name: object) -> bool:
        return name in self._form.names


def _wider(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    """The type that holds the values of both; `one` where they are of different kinds."""
    if one == other or not _alike(one, other):
        return one
    # Floating types of one byte have no arithmetic, and no common type.
    narrow = [dtype for dtype in (one, other) if dtype.is_floating_point and dtype.itemsize == 1]
    if narrow:
        return torch.float32 if len(narrow) == 2 else next(dtype for dtype in (one, other) if dtype not in narrow)
    return torch.promote_types(one, other)


def _alike(one: torch.dtype, other: torch.dtype) -> bool:
    """Whether both are types of fractions, or both of whole numbers."""
    return one == other or (one.is_floating_point == other.is_floating_point and torch.bool not in (one, other))
