"""Can these ingredients be mixed? Asked before any search, from the parameters and, if given, a loss.

Soups of models that do not share an ancestor collapse. Copies fine-tuned from one network stay close to it, so the
parameters of any two point in nearly the same direction; independent trainings are nearly orthogonal.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoint import State
from seasoning.errors import BadInput
from seasoning.soup.mix import first_difference, mix


__all__ = ["MixReport", "check_mixable"]

# Cosines between parameters of fine-tuned copies lie near 1 and those of independent trainings near 0.
_APART, _RELATED = 0.3, 0.7
# A soup in the middle that loses this much more than the worse of its two ends sits on a ridge (nats).
_BARRIER = 0.5


class MixReport(NamedTuple):
    """The verdict (`"mix"`, `"mix with care: …"` or `"do not mix: …"`) and what it rests on.

    `cosines` and `barriers` name pairs by their numbers, from 0; `barriers` is empty where no loss was given.
    """

    mixable: bool
    verdict: str
    cosines: dict[tuple[int, int], float]
    barriers: dict[tuple[int, int], float]


def check_mixable(states: Sequence[State], loss: Callable[[State], float] | None = None) -> MixReport:
    """Whether ingredients share an ancestor closely enough to be mixed, and why.

    Args:
        states: Mappings from names to tensors, at least two.
        loss: Mean loss in nats of a network with the given parameters on a few images; with it the middle of every
            edge is tried too.

    Raises:
        BadInput: fewer than two ingredients.

    Source: Frankle et al. 2020, *Linear mode connectivity*, for the barrier.
    """
    if len(states) < 2:
        raise BadInput(f"{len(states)} ingredient: give at least two to check")
    for number, state in enumerate(states[1:], start=2):
        difference = first_difference(states[0], state, "ingredient 1", f"ingredient {number}")
        if difference:
            return MixReport(False, f"do not mix: {difference}", {}, {})
    pairs = list(combinations(range(len(states)), 2))
    cosines = {(i, j): _cosine(states[i], states[j]) for i, j in pairs}
    barriers: dict[tuple[int, int], float] = {}
    if loss is not None:
        ends = [loss(state) for state in states]
        barriers = {(i, j): loss(mix([states[i], states[j]], (0.5, 0.5))) - max(ends[i], ends[j]) for i, j in pairs}
    verdict = _verdict(cosines, barriers)
    return MixReport(not verdict.startswith("do not"), verdict, cosines, barriers)


def _verdict(cosines: dict[tuple[int, int], float], barriers: dict[tuple[int, int], float]) -> str:
    (i, j), cosine = min(cosines.items(), key=lambda item: item[1])
    pair = f"ingredients {i + 1} and {j + 1}"
    if cosine < _APART:
        return f"do not mix: independent trainings (the parameters of {pair} have cosine {cosine:.2f})"
    if barriers:
        (a, b), barrier = max(barriers.items(), key=lambda item: item[1])
        if barrier > _BARRIER:
            return f"do not mix: half way between ingredients {a + 1} and {b + 1} the loss rises by {barrier:.2f} nats"
    if cosine < _RELATED:
        return f"mix with care: {pair} are far apart (cosine {cosine:.2f}); measure the soups between them"
    return "mix"


def _cosine(one: State, other: State) -> float:
    """Cosine between the weight matrices and kernels of two networks, taken as one long vector."""
    products = torch.zeros(3, dtype=torch.float64)
    for name in one:
        a, b = one[name], other[name]
        # Scales and biases start alike in every training and would hide that two have nothing in common.
        if a.is_floating_point() and a.dim() >= 2:
            products += _products(a.to(torch.float64), b.to(torch.float64))
    dot, length_one, length_other = products.tolist()
    if length_one == 0 or length_other == 0:
        return 1.0
    return float(dot / (length_one * length_other) ** 0.5)


def _products(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([(a * b).sum(), a.square().sum(), b.square().sum()])
