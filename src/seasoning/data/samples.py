"""Labelled images with ids that stay with them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.errors import BadInput


__all__ = ["Batch", "Samples"]


class Batch(NamedTuple):
    """Some samples: ids `(B,)`, images `(B, C, H, W)` in [0, 1], classes `(B,)`."""

    ids: Tensor
    x: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A labelled data set in memory; iterating over it gives its batches.

    Args:
        name: What it is called, such as `"digits/test"`.
        ids: Sample ids, `(N,)` int64; derived sets keep the ids of the images they were made from.
        x: Images, `(N, C, H, W)` float32 in [0, 1].
        y: Classes, `(N,)` int64.
        classes: Number of classes.
        batch_size: Samples in a batch.
    """

    name: str
    ids: Tensor
    x: Tensor
    y: Tensor
    classes: int
    batch_size: int = 500

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.x) == len(self.y) > 0:
            raise BadInput(
                f"{self.name}: {len(self.ids)} ids, {len(self.x)} images and {len(self.y)} labels: give as many"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Batch]:
        for begin in range(0, len(self), self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            yield Batch(self.ids[rows], self.x[rows], self.y[rows])

    def take(self, rows: Tensor, name: str) -> "Samples":
        """The samples that a mask or an index picks, under a name of their own."""
        return replace(self, name=name, ids=self.ids[rows], x=self.x[rows], y=self.y[rows])

    def fingerprint(self) -> str:
        """SHA-256 of ids, labels and pixels."""
        digest = hashlib.sha256()
        for column in (self.ids, self.y, self.x):
            digest.update(f"{column.dtype} {tuple(column.shape)}\n".encode())
            digest.update(column.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
