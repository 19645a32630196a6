"""Labelled images with ids that stay with them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from seasoning.data.labels import LabelMap
from seasoning.errors import BadInput


__all__ = ["Batch", "Samples", "pixels_known"]

# Digests of images that are many, with the version of the tensor that they were taken of.
_DIGESTS: Any = WeakTensorKeyDictionary()
# Most samples of a batch, and most bytes of its images, where its size is not given.
_MOST_TOGETHER, _BYTES_TOGETHER = 500, 1 << 25
_PIECE = 1 << 26  # bytes hashed at a time: what lies on a disk need not fit into memory


class Batch(NamedTuple):
    """Some samples: ids `(B,)`, images `(B, C, H, W)` in [0, 1], classes `(B,)`; for the rest see `Samples`."""

    ids: Tensor
    x: Tensor
    y: Tensor
    valid: Tensor | None = None
    texture: Tensor | None = None
    label_map: LabelMap | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A labelled data set in memory, or mapped from a disk; iterating over it gives its batches.

    Args:
        name: What it is called, such as `"digits/test"`.
        ids: Sample ids, `(N,)` int64; derived sets keep the ids of the images they were made from.
        x: Images, `(N, C, H, W)`: floats in [0, 1], or uint8 in [0, 255]; batches are floats in [0, 1] either way.
        y: Classes, `(N,)` int64.
        classes: Number of classes.
        batch_size: Samples in a batch, and the most that a model is given at a time when it is measured. With `None`
            that number is chosen by what the model needs, and a batch has up to 500 samples, or 32 MiB of images.
        valid: Where several classes are right, all of them, `(N, L)` int64, filled up with -1; `y` is the first.
        texture: Of conflict stimuli, the class of the texture, `(N,)` int64; `y` is that of the shape.
        label_map: From the model's logits to these classes; `None` where they are the same.
        skipped: Files left out since they could not be read.
        class_names: What the classes are called, in their order; empty where they have no names.
    """

    name: str
    ids: Tensor
    x: Tensor
    y: Tensor
    classes: int
    batch_size: int | None = None
    valid: Tensor | None = None
    texture: Tensor | None = None
    label_map: LabelMap | None = None
    skipped: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.x) == len(self.y) > 0:
            raise BadInput(
                f"{self.name}: {len(self.ids)} ids, {len(self.x)} images and {len(self.y)} labels: give as many"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Batch]:
        size = self.batch_size or max(1, min(_MOST_TOGETHER, _BYTES_TOGETHER // (4 * self.x[0].numel())))
        for begin in range(0, len(self), size):
            rows = slice(begin, begin + size)
            valid = None if self.valid is None else self.valid[rows]
            texture = None if self.texture is None else self.texture[rows]
            yield Batch(self.ids[rows], self.images(rows), self.y[rows], valid, texture, self.label_map)

    @property
    def outputs(self) -> int:
        """Logits that a model of these samples has."""
        return self.classes if self.label_map is None else self.label_map.outputs

    def images(self, rows: Tensor | slice) -> Tensor:
        """The images that a mask, an index or a slice picks, as floats in [0, 1]."""
        picked = self.x[rows]
        return picked.float() / 255 if picked.dtype == torch.uint8 else picked

    def take(self, rows: Tensor, name: str) -> "Samples":
        """The samples that a mask or an index picks, under a name of their own."""
        columns = {column: getattr(self, column) for column in ("ids", "x", "y", "valid", "texture")}
        picked = {column: values[rows] for column, values in columns.items() if values is not None}
        return replace(self, name=name, **picked)

    def fingerprint(self) -> str:
        """SHA-256 of ids, labels and pixels, and of what else decides which answers are right."""
        digest = hashlib.sha256()
        for column in (self.ids, self.y):
            _feed(digest, column)
        if self.x.dtype == torch.uint8:
            digest.update(_pixels(self.x).encode())
        else:
            _feed(digest, self.x)
        for extra in (self.valid, self.texture):
            if extra is not None:
                _feed(digest, extra)
        if self.label_map is not None:
            digest.update(repr(self.label_map).encode())
        return digest.hexdigest()

    def digests(self) -> NDArray[np.uint64]:
        """For each sample 64 bits of the SHA-256 of its id, its label, its pixels and what else decides about it."""
        told = f"{self.x.dtype} {tuple(self.x.shape[1:])} {self.label_map!r}".encode()
        columns = [column for column in (self.ids, self.y, self.valid, self.texture, self.x) if column is not None]
        found = np.empty(len(self), dtype=np.uint64)
        for row in range(len(self)):
            digest = hashlib.sha256(told)
            for column in columns:
                _feed(digest, column[row])
            found[row] = int.from_bytes(digest.digest()[:8], "big")
        return found


def pixels_known(x: Tensor, digest: str) -> None:
    """Say what `_pixels` would find, where it was found before: a mapped file keeps it beside itself."""
    _DIGESTS[x] = (x._version, digest)


def _pixels(x: Tensor) -> str:
    """SHA-256 of images; taken once of each tensor, since gigabytes take a while."""
    version, known = _DIGESTS.get(x, (None, ""))
    if version != x._version:
        digest = hashlib.sha256()
        _feed(digest, x)
        known = digest.hexdigest()
        pixels_known(x, known)
    return str(known)


def _feed(digest: Any, column: Tensor) -> None:
    digest.update(f"{column.dtype} {tuple(column.shape)}\n".encode())
    content = column.contiguous().view(-1).view(torch.uint8)
    for begin in range(0, len(content), _PIECE):
        digest.update(content[begin : begin + _PIECE].numpy())
