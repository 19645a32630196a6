"""Labelled photographs that stay on the disk, in files of their own, and are decoded whenever they are asked for."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from seasoning.data.decoding import Photo, decode_all
from seasoning.data.files import ImageFile
from seasoning.data.listing import Listing
from seasoning.data.pixels import pixel_hashes
from seasoning.data.reading import read_samples
from seasoning.data.recognise import find_set
from seasoning.data.samples import Samples
from seasoning.errors import BadInput


__all__ = ["Photographs", "open_photographs"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Photographs:
    """A labelled data set of any size, as what its files are called.

    Args:
        name: What it is called.
        listing: Ids, classes and files.
    """

    name: str
    listing: Listing

    def __len__(self) -> int:
        return len(self.listing)

    @property
    def ids(self) -> Tensor:
        """Sample ids, `(N,)` int64."""
        return self.listing.ids

    @property
    def y(self) -> Tensor:
        """Classes, `(N,)` int64."""
        return self.listing.y

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.listing.class_names)

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """Where the images lie."""
        return self.listing.files

    def take(self, rows: Tensor, name: str) -> "Photographs":
        """The samples that an index picks, under a name of their own."""
        return Photographs(name, self.listing.take(rows.tolist()))

    def decoded(self, view: Photo) -> Samples:
        """All of them in memory, in a view.

        Raises:
            BadInput: one of them is damaged.
        """
        return replace(read_samples(self.listing, view=view), name=self.name)

    def pixel_hashes(self, view: Photo, workers: int) -> NDArray[np.uint64]:
        """Hashes of the pixels of all that can be read, in a view; none of them is kept in memory."""
        decoded = decode_all(self.files, view, workers=workers)
        return np.concatenate([np.empty(0, np.uint64), *(pixel_hashes(part.pixels) for part in decoded if part.rows)])

    def fingerprint(self) -> str:
        """SHA-256 of names (by the ids) and classes; the pixels of millions of files would take hours."""
        digest = hashlib.sha256(b"photographs")
        for column in (self.ids, self.y):
            digest.update(column.contiguous().numpy().tobytes())
        return digest.hexdigest()


def open_photographs(folder: str, name: str, carried: Sequence[str] | None = None) -> Photographs:
    """The photographs in a folder or an archive of one set, none of them decoded.

    Args:
        folder: Where they lie.
        name: What they are called; their order of drawing depends on it.
        carried: The classes in the order of the logits, as the checkpoint that is trained says.

    Raises:
        BadInput: it is not laid out so, holds several sets, or images in one array.
    """
    found = find_set(Path(folder), split="train", carried=carried)
    if len(found.parts) > 1:
        raise BadInput(f"{folder} holds {len(found.parts)} sets, such as {found.parts[0].name}: give the folder of one")
    listing = found.parts[0].open()
    for note in (*listing.doubts, *listing.notes):
        _log.warning("%s: %s", folder, note)
    if not listing.files:
        raise BadInput(f"{folder} holds its images in one array, not each in a file: leave out augment.resized_crop")
    return Photographs(name, listing)


def picture(samples: Samples, row: int) -> Image.Image:
    """An image in memory as Pillow has it."""
    from torchvision.transforms import functional

    pixels = samples.images(slice(row, row + 1))[0]
    image: Image.Image = functional.to_pil_image((pixels * 255).round().byte())
    return image
