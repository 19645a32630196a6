"""Spaces of weights."""

from collections.abc import Iterator

from seasoning.errors import BadInput


__all__ = ["simplex"]


def simplex(count: int, parts: int) -> list[tuple[float, ...]]:
    """All convex weights of `count` ingredients that are multiples of `1 / parts`.

    Returns:
        binomial(parts + count - 1, count - 1) tuples of sum 1, in descending order of the first weight.

    Raises:
        BadInput: `count` or `parts` is less than 1.

    Source: Croce et al. 2023, *Seasoning model soups*, section 5 (fixed grid).
    """
    if count < 1 or parts < 1:
        raise BadInput(f"a grid of {count} ingredients in {parts} parts: expected at least 1 of each")
    return [tuple(share / parts for share in shares) for shares in _compositions(count, parts)]


def _compositions(count: int, total: int) -> Iterator[tuple[int, ...]]:
    """Ordered ways to write `total` as a sum of `count` numbers of at least 0."""
    if count == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(count - 1, total - first):
            yield first, *rest
