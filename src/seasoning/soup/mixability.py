"""Can these ingredients be mixed? Asked before any search, from the parameters and, if given, a loss.

Soups of models that have no common ancestor collapse. Copies fine-tuned from one network stay close to it, so the
parameters of any two point in nearly the same direction; independent trainings are nearly orthogonal.

A *layer group* is what tensor names have in common up to their first number (`"layer1.0"`, `"blocks.11"`) or, where
there is no number, up to their last dot (`"stem"`, `"head.fc"`). Likeness is that of convolution kernels and matrices
alone: scales and biases start alike in every training and would hide that two networks have nothing in common.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoints.class_names import agreed_names
from seasoning.checkpoints.constants import alike, carried
from seasoning.checkpoints.load import State
from seasoning.errors import BadInput, Mismatch
from seasoning.soup.fit import first_difference, is_finite, names_for, require_linear, require_same_constants
from seasoning.soup.mix import mix


__all__ = ["Likeness", "Mixability", "check_mixable"]

Pair = tuple[int, int]
Constants = tuple[Sequence[float] | Tensor, Sequence[float] | Tensor]

# Chosen on measured soups, see docs/results/mixability.md. Below the first cosine two networks have nothing in common;
# below the second their soups mostly collapse; from the third on they hardly lose anything.
_INDEPENDENT, _APART, _RELATED = 0.3, 0.5, 0.7
# A soup whose loss lies this far above the line between its ends sits on a ridge (nats).
_BARRIER = 0.25
# Fractions of the second ingredient at which an edge is tried.
_POINTS = (0.25, 0.5, 0.75)
# Copies whose differences from the base have a cosine below this mostly undo each other.
_OPPOSED = -0.5
# Elements of a tensor that are compared at a time: in float64, 2 MB of each ingredient.
_SLICE = 2**18


class Likeness(NamedTuple):
    """How alike the kernels and matrices of a layer group, or of the whole network, are in each pair of ingredients.

    Args:
        cosines: Cosine of the parameters of each pair.
        distances: Length of their difference over the root mean square of their lengths: 0 for copies, 1.41 for
            orthogonal networks of one length.
        differences: Cosine of their differences from the base: how much two fine-tunes agree. Without a base, from the
            mean of three or more ingredients, where k steps that have nothing in common give -1 / (k - 1); else empty.
    """

    cosines: Mapping[Pair, float]
    distances: Mapping[Pair, float]
    differences: Mapping[Pair, float]


class Mixability(NamedTuple):
    """The verdict and what it rests on; pairs are named by the numbers of their ingredients, from 0.

    Args:
        mixable: Whether the verdict is anything but `"do not mix: …"`.
        verdict: `"mix"`, `"mix with care: …"` or `"do not mix: …"`, with the reason.
        cosines: Cosine of the parameters of each pair, over the whole network; where most layer groups are related and
            the others independent (new heads), over those most.
        barriers: How far the loss of the worst soup tried on each edge lies above the line between the losses of its
            ends, in nats; below 0 where every soup is better than that. Empty without a loss.
        center: The same for the uniform soup of all against the mean of their losses; `None` without a loss.
        whole: Likeness over the whole network; `None` where the ingredients do not fit.
        groups: Likeness of each layer group, in the order of the tensors.
    """

    mixable: bool
    verdict: str
    cosines: Mapping[Pair, float]
    barriers: Mapping[Pair, float]
    center: float | None = None
    whole: Likeness | None = None
    groups: Mapping[str, Likeness] = MappingProxyType({})


def check_mixable(
    states: Sequence[State],
    loss: Callable[[State], float] | None = None,
    names: Sequence[str] | None = None,
    constants: Sequence[Constants | None] | None = None,
    base: State | None = None,
    classes: Sequence[Sequence[str] | None] | None = None,
) -> Mixability:
    """Whether ingredients have a common ancestor close enough to be mixed, and why.

    Every tensor is read once, together with its namesakes. What `mix` would refuse is reported, not raised.

    Args:
        states: Mappings from names to tensors, at least two.
        loss: Mean loss in nats of a network with the given parameters on a few images. With it three points of each
            edge and the uniform soup are tried: k ingredients take 3 k (k - 1) / 2 + k + 1 calls.
        names: What the ingredients are called, such as their files; by default `"ingredient 1"` and so on.
        constants: Mean and standard deviation by which each normalizes images in [0, 1], one number for each channel or
            one for all; `None` where they are not known but by tensors of the state.
        base: The network that all were fine-tuned from, where it is at hand.
        classes: Their names in the order of the logits of each; `None` where they are not known.

    Raises:
        BadInput: fewer than two ingredients, or not one name or pair of constants for each.

    Source: Frankle et al. 2020, *Linear mode connectivity and the lottery ticket hypothesis*, section 2, for the
    barrier; Neyshabur et al. 2020, *What is being transferred in transfer learning?*, for copies of one base lying in
    one basin.
    """
    if len(states) < 2:
        raise BadInput(f"{len(states)} ingredient: give at least two to check")
    called = names_for(states, names)
    given = [None] * len(states) if constants is None else list(constants)
    if len(given) != len(states):
        raise BadInput(f"normalization constants of {len(given)} for {len(states)} ingredients: give one pair for each")
    known = [carried(state) if constants is None else constants for constants, state in zip(given, states, strict=True)]
    try:
        _require_constants(known, called)
        agreed_names(zip(called, classes or (), strict=bool(classes)))
        groups = _products(states, base, called)
    except Mismatch as problem:
        return Mixability(False, f"do not mix: {problem}", {}, {})
    barriers, center = ({}, None) if loss is None else _barriers(states, loss)
    count, based = len(states), base is not None
    whole = _likeness(_total(groups.values(), count + based), count, based)
    layers = {name: _likeness(group, count, based) for name, group in groups.items()}
    cosines = {pair: _cosine_of_most(pair, whole, groups) for pair in whole.cosines}
    reason = _unrelated(cosines, called) or (
        _too_far(cosines, called) if loss is None else _ridge(barriers, center, called)
    )
    if reason:
        verdict = f"do not mix: {reason}"
    else:
        cares = [*_far(cosines, called), *_odd_layers(cosines, layers, called), *_unknown(known, called)]
        cares += _opposed(whole.differences, called) if based else []
        verdict = f"mix with care: {'; '.join(cares)}" if cares else "mix"
    return Mixability(not reason, verdict, cosines, barriers, center, whole, layers)


def _require_constants(known: Sequence[Constants | None], called: Sequence[str]) -> None:
    """Refuse ingredients that normalize images differently.

    Raises:
        Mismatch: with both constants.
    """
    given = [(name, constants) for name, constants in zip(called, known, strict=True) if constants is not None]
    for name, constants in given[1:]:
        for what, one, other in zip(("mean", "std"), given[0][1], constants, strict=True):
            a, b = (torch.as_tensor(values, dtype=torch.float64).flatten().tolist() for values in (one, other))
            if not alike(a, b):
                raise Mismatch(f"{given[0][0]} normalizes images with {what} {_listed(a)} and {name} with {_listed(b)}")


def _listed(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.4g}' for value in values)})"


def _unknown(known: Sequence[Constants | None], called: Sequence[str]) -> list[str]:
    unknown = [name for name, constants in zip(called, known, strict=True) if constants is None]
    if len(unknown) in (0, len(called)):
        return []
    return [f"it is not known how {_joined(unknown)} normalizes images"]


def _unrelated(cosines: Mapping[Pair, float], called: Sequence[str]) -> str | None:
    """Which ingredients have no ancestor in common, in words."""
    family = list(range(len(called)))
    for (i, j), cosine in cosines.items():
        if cosine >= _INDEPENDENT:
            family = [family[i] if member == family[j] else member for member in family]
    apart = [cosine for (i, j), cosine in cosines.items() if family[i] != family[j]]
    if not apart:
        return None
    sides = [
        _joined([name for name, member in zip(called, family, strict=True) if member == one])
        for one in dict.fromkeys(family)
    ]
    return f"independent trainings: {' versus '.join(sides)} (cosine at most {max(apart):.2f})"


def _too_far(cosines: Mapping[Pair, float], called: Sequence[str]) -> str | None:
    (i, j), cosine = min(cosines.items(), key=lambda item: item[1])
    if cosine >= _APART:
        return None
    return (
        f"{called[i]} and {called[j]} are too far apart (cosine {cosine:.2f}), unless the loss on images says otherwise"
    )


def _ridge(barriers: Mapping[Pair, float], center: float | None, called: Sequence[str]) -> str | None:
    (i, j), barrier = max(barriers.items(), key=lambda item: item[1])
    if math.isinf(barrier):
        return f"the loss of {called[i]}, of {called[j]} or of a soup of the two is not finite"
    if barrier > _BARRIER:
        return f"between {called[i]} and {called[j]} the loss rises by {barrier:.2f} nats"
    if center is not None and center > _BARRIER:
        return f"in the middle of all {len(called)} the loss rises by {center:.2f} nats"
    return None


def _far(cosines: Mapping[Pair, float], called: Sequence[str]) -> list[str]:
    (i, j), cosine = min(cosines.items(), key=lambda item: item[1])
    if cosine >= _RELATED:
        return []
    return [f"{called[i]} and {called[j]} are far apart (cosine {cosine:.2f}): measure the soups between them"]


def _odd_layers(cosines: Mapping[Pair, float], layers: Mapping[str, Likeness], called: Sequence[str]) -> list[str]:
    """Layer groups that are independent between ingredients that are related otherwise."""
    cares = []
    for (i, j), cosine in cosines.items():
        odd = {name: layer.cosines[i, j] for name, layer in layers.items() if layer.cosines[i, j] < _INDEPENDENT}
        if odd and cosine >= _RELATED:
            named = _joined([f"{name!r} (cosine {cosine:.2f})" for name, cosine in odd.items()])
            cares.append(
                f"{called[i]} and {called[j]} are related, but independent in {named}, as new classifier heads are: "
                "measure the soups between them"
            )
    return [*cares[:2], f"and {len(cares) - 2} more such pairs"] if len(cares) > 3 else cares


def _opposed(differences: Mapping[Pair, float], called: Sequence[str]) -> list[str]:
    (i, j), cosine = min(differences.items(), key=lambda item: item[1])
    if cosine >= _OPPOSED:
        return []
    return [f"{called[i]} and {called[j]} left the base in opposite directions (cosine {cosine:.2f})"]


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _products(states: Sequence[State], base: State | None, called: Sequence[str]) -> dict[str, Tensor]:
    """For each layer group scalar products of every two, (2, K, K): of parameters, and of differences from the last.

    Raises:
        Mismatch: the first reason why `mix` would refuse the ingredients.
    """
    everyone = [*states] if base is None else [*states, base]
    names = [*called, "the base"][: len(everyone)]
    first = everyone[0]
    for state, name in zip(everyone[1:], names[1:], strict=True):
        lacking = next((key for key in [*first, *state] if key not in first or key not in state), None)
        if lacking is not None:
            one, other = ({lacking: source[lacking]} if lacking in source else {} for source in (first, state))
            raise Mismatch(str(first_difference(one, other, names[0], name)))
    require_linear(first)
    require_same_constants(everyone, names)
    groups: dict[str, Tensor] = {}
    for key in first:
        # In a call of its own, so that no tensor outlives its turn.
        found = _tensor_products(key, everyone, names)
        if found is not None:
            group = _group(key)
            groups[group] = groups[group] + found if group in groups else found
    return groups


def _group(key: str) -> str:
    parts = key.split(".")
    number = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts[:-1] if number is None else parts[: number + 1]) or key


def _tensor_products(key: str, states: Sequence[State], names: Sequence[str]) -> Tensor | None:
    """Scalar products of one tensor, or `None` where it is no kernel or matrix.

    Raises:
        Mismatch: shapes, types or integer values differ, or there is a NaN or an infinite value.
    """
    tensors = [state[key].detach() for state in states]
    for tensor, name in zip(tensors[1:], names[1:], strict=True):
        difference = first_difference({key: tensors[0]}, {key: tensor}, names[0], name)
        if difference:
            raise Mismatch(difference)
        counter = key.endswith("num_batches_tracked")
        if not tensor.is_floating_point() and not counter and not torch.equal(tensor, tensors[0]):
            raise Mismatch(f"integer buffer {key!r} differs between {names[0]} and {name}: it cannot be averaged")
    if not tensors[0].is_floating_point():
        return None
    products = torch.zeros(2, len(states), len(states), dtype=torch.float64)
    flat = [tensor.reshape(-1) for tensor in tensors]
    for begin in range(0, len(flat[0]), _SLICE):
        rows = torch.stack([values[begin : begin + _SLICE].to("cpu", torch.float64) for values in flat])
        for row, name in zip(rows, names, strict=True):
            if not is_finite(row):
                raise Mismatch(f"tensor {key!r} has a NaN or infinite value in {name}")
        moved = rows - rows[-1]
        products += torch.stack([rows @ rows.T, moved @ moved.T])
    return products if tensors[0].dim() >= 2 else None


def _total(products: Iterable[Tensor], count: int) -> Tensor:
    return sum(products, torch.zeros(2, count, count, dtype=torch.float64))


def _cosine_of_most(pair: Pair, whole: Likeness, groups: Mapping[str, Tensor]) -> float:
    """Cosine over the whole network, or over most of its layer groups where these are related and the others are not.

    A new head may hold a good part of the parameters, and says nothing of where the rest comes from.
    """
    most = [group for group in groups.values() if _cosine(group[0], *pair) >= _INDEPENDENT]
    if len(groups) / 2 < len(most) < len(groups):
        cosine = _cosine(_total(most, len(most[0][0]))[0], *pair)
        if cosine >= _RELATED:
            return cosine
    return whole.cosines[pair]


def _likeness(products: Tensor, count: int, based: bool) -> Likeness:
    own, moved = products[:, :count, :count]
    if not based:
        # The last ingredient was the origin; their mean becomes it, which leaves distances as they are.
        center = torch.eye(count, dtype=torch.float64) - 1 / count
        moved = center @ moved @ center
    pairs = list(combinations(range(count), 2))
    return Likeness(
        {pair: _cosine(own, *pair) for pair in pairs},
        {pair: _distance(own, moved, *pair) for pair in pairs},
        {pair: _cosine(moved, *pair) for pair in pairs} if based or count > 2 else {},
    )


def _cosine(products: Tensor, i: int, j: int) -> float:
    one, other, dot = float(products[i, i]), float(products[j, j]), float(products[i, j])
    if one <= 0 or other <= 0:
        # Two networks of zeros are alike; zeros have nothing in common with anything else.
        return float(one == other)
    return dot / math.sqrt(one * other)


def _distance(own: Tensor, moved: Tensor, i: int, j: int) -> float:
    square = float(moved[i, i] + moved[j, j] - 2 * moved[i, j])
    length = float(own[i, i] + own[j, j]) / 2
    return math.sqrt(max(square, 0.0) / length) if length > 0 else 0.0


def _barriers(states: Sequence[State], loss: Callable[[State], float]) -> tuple[dict[Pair, float], float]:
    """Barrier of each edge and at the uniform soup of all; infinite where a loss is not finite."""
    ends = [loss(state) for state in states]

    def above(members: Sequence[int], weights: Sequence[float]) -> float:
        line = sum(weight * ends[member] for member, weight in zip(members, weights, strict=True))
        rise = loss(mix([states[member] for member in members], weights)) - line
        return rise if math.isfinite(rise) else math.inf

    count = len(states)
    barriers = {
        pair: max(above(pair, (1 - point, point)) for point in _POINTS) for pair in combinations(range(count), 2)
    }
    return barriers, above(range(count), (1 / count,) * count)
