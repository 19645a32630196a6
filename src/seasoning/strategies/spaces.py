"""Spaces of weights: finite sets of points, every weight a multiple of one step, and what lies next to a point."""

from collections.abc import Hashable, Iterator, Sequence
from itertools import permutations, product

from seasoning.errors import BadInput


__all__ = ["Weights", "box", "ladder", "line", "members", "neighbours", "simplex", "starts"]

Weights = tuple[float, ...]

# Weights that differ by less are one point: sums of floats do not land on the multiples of a step exactly.
_DIGITS = 9


def simplex(count: int, parts: int) -> list[Weights]:
    """All convex weights of `count` ingredients that are multiples of `1 / parts`.

    Returns:
        binomial(parts + count - 1, count - 1) tuples of sum 1, in descending order of the first weight.

    Raises:
        BadInput: `count` or `parts` is less than 1.

    Source: Croce et al. 2023, *Seasoning model soups*, section 5 (fixed grid).
    """
    if count < 1 or parts < 1:
        raise BadInput(f"a grid of {count} ingredients in {parts} parts: expected at least 1 of each")
    return [tuple(number / parts for number in numbers) for numbers in _compositions(count, parts, 0, parts)]


def box(count: int, parts: int, low: float, high: float) -> list[Weights]:
    """All affine weights of sum 1 that are multiples of `1 / parts` in [low, high]; weights may be negative.

    Raises:
        BadInput: `count` or `parts` is less than 1, or no such weights sum to 1.
    """
    if count < 1 or parts < 1:
        raise BadInput(f"a box of {count} ingredients in {parts} parts: expected at least 1 of each")
    least, most = _ceil(low * parts), -_ceil(-high * parts)
    points = [tuple(number / parts for number in numbers) for numbers in _compositions(count, parts, least, most)]
    if not points:
        raise BadInput(
            f"no {count} multiples of 1/{parts} in [{low:g}, {high:g}] sum to 1: widen the box, or take a finer step"
        )
    return points


def line(parts: int, low: float = 0.0, high: float = 1.0) -> list[Weights]:
    """Weights `(1 - a, a)` for all multiples `a` of `1 / parts` in [low, high]: from one model to the other and beyond.

    Raises:
        BadInput: `parts` is less than 1, or no multiple lies in the range.

    Source: Wortsman et al. 2022, *Robust fine-tuning of zero-shot models* (WiSE-FT).
    """
    multiples = range(_ceil(low * parts), -_ceil(-high * parts) + 1) if parts >= 1 else range(0)
    if not multiples:
        raise BadInput(f"no multiple of 1/{parts} lies in [{low:g}, {high:g}]: widen the line, or take a finer step")
    return [((parts - multiple) / parts, multiple / parts) for multiple in multiples]


def ladder(groups: Sequence[Hashable], parts: int) -> list[Weights]:
    """Convex weights that use at most one ingredient of each group, such as one radius of each norm.

    Args:
        groups: The group of each ingredient, such as `("nominal", "linf", "linf", "l2")`.
        parts: Weights are multiples of `1 / parts`.

    Raises:
        BadInput: no ingredients, or `parts` is less than 1.

    Source: Croce et al. 2023, *Seasoning model soups*, Table 4 (sets of several radii).
    """
    rungs = [[index for index, own in enumerate(groups) if own == group] for group in dict.fromkeys(groups)]
    found: dict[Weights, None] = {}
    for chosen in product(*rungs):
        for fractions in simplex(len(chosen), parts):
            weights = [0.0] * len(groups)
            for index, fraction in zip(chosen, fractions, strict=True):
                weights[index] = fraction
            found[tuple(weights)] = None
    return list(found)


def members(points: Sequence[Weights]) -> list[int]:
    """Indices of the ingredients that the points of a space use."""
    return [index for index, weights in enumerate(zip(*points, strict=True)) if any(weights)]


def starts(points: Sequence[Weights]) -> list[Weights]:
    """Where to look first: the points nearest to each ingredient alone and to the uniform mix, each once."""
    count = len(points[0])
    corners = [tuple(float(index == corner) for index in range(count)) for corner in range(count)]
    targets = [*corners, (1 / count,) * count]
    return list(dict.fromkeys(min(points, key=lambda point: _distance(point, target)) for target in targets))


def neighbours(points: Sequence[Weights], center: Weights, move: float) -> list[Weights]:
    """Points that shift `move` of weight from one ingredient to another.

    Where such a shift leaves the space, all of that ingredient's weight goes over instead, so that faces, and the
    other rungs of a ladder, are reached.
    """
    known = {_rounded(point): point for point in points}
    found: dict[Weights, None] = {}
    for giver, taker in permutations(range(len(center)), 2):
        for amount in (move, center[giver]):
            shifted = list(center)
            shifted[giver] -= amount
            shifted[taker] += amount
            point = known.get(_rounded(shifted))
            if point is not None and point != center:
                found[point] = None
                break
    return list(found)


def _compositions(count: int, total: int, least: int, most: int) -> Iterator[tuple[int, ...]]:
    """Ordered ways to write `total` as a sum of `count` numbers in [least, most]."""
    if count == 1:
        if least <= total <= most:
            yield (total,)
        return
    others = count - 1
    for first in range(min(most, total - others * least), max(least, total - others * most) - 1, -1):
        for rest in _compositions(others, total - first, least, most):
            yield first, *rest


def _ceil(value: float) -> int:
    """The next integer up; a number just above one through rounding counts as it."""
    return int(-(-round(value, _DIGITS) // 1))


def _rounded(weights: Sequence[float]) -> Weights:
    # Adding 0 turns a negative zero into zero.
    return tuple(round(weight, _DIGITS) + 0.0 for weight in weights)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
