"""A data set before any pixel is decoded: what every sample is, and where its image lies."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import torch
from torch import Tensor

from seasoning.data.files import ImageFile, Tree, left_out, unread_kinds
from seasoning.data.labels import LabelMap
from seasoning.errors import BadInput


__all__ = ["Listing", "listed", "stable_id"]


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """What a data set holds.

    Args:
        name: Such as `"imagenet-a"`.
        ids: Sample ids, `(N,)` int64; the same photograph has one id in all sets that are made of it.
        y: Classes, `(N,)` int64.
        class_names: Name of each class.
        files: Where the images lie, one for each sample; or else
        pixels: the images themselves, `(N, C, H, W)` uint8.
        as_is: Whether the images are measured at the size they have, since the set was made at it.
        valid, texture, label_map: As in `seasoning.data.Samples`.
        notes: What a reader of the numbers has to know.
        doubts: What is probably wrong with the folder, in sentences.
        whole: How many images there are if none is missing, where that was noted when the set was made.
    """

    name: str
    ids: Tensor
    y: Tensor
    class_names: tuple[str, ...]
    files: tuple[ImageFile, ...] = ()
    pixels: Tensor | None = None
    as_is: bool = False
    valid: Tensor | None = None
    texture: Tensor | None = None
    label_map: LabelMap | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    whole: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def outputs(self) -> int:
        """Logits that a model of this data set has."""
        return len(self.class_names) if self.label_map is None else self.label_map.outputs

    def counts(self) -> dict[str, int]:
        """Number of samples of each class."""
        found = torch.bincount(self.y, minlength=len(self.class_names)).tolist()
        return dict(zip(self.class_names, found, strict=True))

    def take(self, rows: Sequence[int]) -> "Listing":
        """The samples at these indices in the order."""
        index = torch.tensor(rows, dtype=torch.int64)
        columns = {name: getattr(self, name) for name in ("ids", "y", "pixels", "valid", "texture")}
        picked = {name: column[index] for name, column in columns.items() if column is not None}
        return replace(self, files=tuple(self.files[row] for row in rows) if self.files else (), **picked)


def stable_id(name: str) -> int:
    """63 bits of the hash of a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def listed(
    name: str,
    tree: Tree,
    files: Sequence[ImageFile],
    labels: Sequence[int],
    class_names: Sequence[str],
    bases: Sequence[str],
) -> Listing:
    """A listing of files, with a note of what lies beside them and is no part of it.

    Args:
        name: Of the data set.
        tree: Where the images lie.
        files: The images.
        labels: Their classes.
        class_names: All classes.
        bases: Name of the photograph that each image was made from, without a suffix; two of one name keep theirs.

    Raises:
        BadInput: there are no images.
    """
    if not files:
        raise BadInput(f"{name}: no images found")
    twice = {base for base, count in Counter(bases).items() if count > 1}
    names = [
        base + PurePosixPath(file.name).suffix if base in twice else base
        for base, file in zip(bases, files, strict=True)
    ]
    ids = torch.tensor([stable_id(name) for name in names])
    unread = unread_kinds(tree)
    doubts = [f"pictures of {', '.join(unread)} lie beside these images and cannot be read here: convert them"]
    return Listing(
        name,
        ids,
        torch.tensor(list(labels)),
        tuple(class_names),
        tuple(files),
        notes=tuple(left_out(tree, files)),
        doubts=tuple(doubts) if unread else (),
    )
