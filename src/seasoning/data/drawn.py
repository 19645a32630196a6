"""A few images of a data set in place of all: drawn at random, and the same ones every time."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput


__all__ = ["drawn"]


def drawn(
    name: str,
    ids: NDArray[np.int64],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    images: int | None,
    shots: int,
    seed: int,
) -> list[int]:
    """Rows of the images drawn, ascending: the first in the order of the hash of the seed and their ids.

    So a larger number takes in the smaller one, and the same photographs are drawn of every set that was made of them.
    The order is another than that by which a search chooses, whose images would flatter the soup that they chose.

    Args:
        name: Of the data set, for errors.
        ids: Sample ids, `(N,)`.
        labels: Classes, `(N,)`.
        class_names: Name of each class.
        images: How many images; where `None`,
        shots: how many of each class that has images.
        seed: Another one draws other images.

    Raises:
        BadInput: there are fewer.
    """
    order = sorted(range(len(ids)), key=lambda row: hashlib.sha256(f"evaluate {seed} {ids[row]}".encode()).digest())
    if images is not None:
        if images > len(ids):
            raise BadInput(
                f"{name} has {len(ids):,} images, {images:,} are asked for: give at most --images {len(ids)}"
            )
        return sorted(order[:images])
    counts = np.bincount(labels, minlength=len(class_names))
    least = int(counts[counts > 0].min())
    if shots > least:
        scarce = class_names[int(np.flatnonzero(counts == least)[0])]
        raise BadInput(
            f"{name} has {least:,} images of class {scarce!r}, {shots:,} of each class are asked for: give at most "
            f"--shots {least}, or draw from all classes together by --images"
        )
    by_class: dict[int, list[int]] = {}
    for row in order:
        by_class.setdefault(int(labels[row]), []).append(row)
    return sorted(row for rows in by_class.values() for row in rows[:shots])
