"""From what somebody names as data to samples as a model sees them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seasoning.data.catalogue import FACTS
from seasoning.data.class_names import Numbering
from seasoning.data.decoding import Photo, View, Whole, decode_all, image_size
from seasoning.data.drawn import drawn
from seasoning.data.listing import Listing
from seasoning.data.pixels import pixel_hashes
from seasoning.data.reading import Known, read_samples, usable_processors
from seasoning.data.recognise import find_set, lacking, shortfall
from seasoning.data.samples import Samples
from seasoning.data.sources import SOURCES, SPLITS, Used, source_parts
from seasoning.errors import BadInput, UnknownName


__all__ = ["TRANSFORMS", "Opened", "ReadOptions", "open_data"]

TRANSFORMS = ("auto", "model", "as-is")
_FEW = 2000  # images that are decoded sooner than worker processes start
_MOST_WORKERS = 8
_LOOKED_AT = 64  # images whose size tells whether all have one


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How data is read.

    Args:
        split: Part of a data set that has parts, by default `"test"`.
        transform: `"model"` views photographs as the architecture asks, `"as-is"` leaves their size; `"auto"` leaves
            images that were made at one size, and views the others.
        workers: Processes that decode; by default none for few images, else as many as there are processors.
        cache: Folder that keeps decoded images, mapped instead of held in memory.
        skip_damaged: Whether to leave out images that cannot be read, and count them.
        partial: Whether to measure what is there of a set that is not complete.
        class_names: The model's classes in the order of its logits, to name the folders by.
        used: By the names of known data sets, how many images of them the model was trained and validated on, where
            these are not the usual ones.
        class_order: How folders of one's own are numbered where nobody names the classes, from `CLASS_ORDERS`.
        carried: The model's classes in the order of its logits, as its checkpoint names them.
    """

    split: str | None = None
    transform: str = "auto"
    workers: int | None = None
    cache: Path | None = None
    skip_damaged: bool = False
    partial: bool = False
    class_names: tuple[str, ...] | None = None
    used: Mapping[str, Used] = field(default_factory=dict)
    class_order: str = "auto"
    carried: tuple[str, ...] | None = None


class Opened:
    """One set of images before it is decoded.

    Args:
        name: Such as `"imagenet-c/fog/3"`.
        column: The column of a table that it belongs to, such as `"imagenet-c"`.
        kind: A key of `FACTS`, or `None` for a set without files.
        listing: Opens it.
        samples: Of a set without files, gives them.
        options: How it is read.
        notes: What a reader of its numbers has to know, beside what its files say.
        remark: What it was taken for and how to say otherwise, where that is in doubt.
    """

    def __init__(
        self,
        name: str,
        column: str,
        kind: str | None,
        listing: Callable[[], Listing] | None,
        samples: Callable[[], Samples] | None,
        options: ReadOptions,
        notes: Sequence[str] = (),
        remark: str = "",
    ) -> None:
        self.name, self.column, self.kind, self.remark = name, column, kind, remark
        self._listing, self._samples, self._options, self._notes = listing, samples, options, notes

    @cached_property
    def listing(self) -> Listing | None:
        """What it holds; a published set that is not complete is refused unless that is asked for."""
        if self._listing is None or self.kind is None:
            return None
        listing = self._listing()
        if self._options.split is not None and not listing.name.endswith(f"/{self._options.split}"):
            raise BadInput(f"--split {self._options.split} of {self.name}: it is not parted, leave the option out")
        missing = shortfall(listing, self.kind, self._options.split or "test")
        if missing is not None and not self._options.partial:
            raise BadInput(
                f"{self.name} is not complete: {missing}; copy it again, measure what is there by --partial, "
                f"or say that it is something else, as in folder=PATH. Expected: {FACTS[self.kind].layout}"
            )
        return listing

    @cached_property
    def _made(self) -> Samples | None:
        return None if self._samples is None else self._samples()

    @property
    def outputs(self) -> int:
        """Logits that a model of it has."""
        known = self.listing or self._made
        return 0 if known is None else known.outputs

    @property
    def ids(self) -> Tensor:
        """Ids of its samples."""
        known = self.listing or self._made
        return torch.empty(0, dtype=torch.int64) if known is None else known.ids

    def draw(
        self, images: int | None, shots: int | None, seed: int, *, left_out: Sequence[int] | NDArray[np.int64] = ()
    ) -> list[int] | None:
        """Rows of so many of its samples, or of so many of each class, by `drawn`; `None` where that is all of them.

        Args:
            images: How many images; or else
            shots: how many of each class; by default all.
            seed: Another one draws other images.
            left_out: Ids of samples that are none of them.

        Raises:
            BadInput: there are fewer.
        """
        ids = self.ids.numpy()
        kept = np.flatnonzero(~np.isin(ids, left_out))
        if images is None and shots is None:
            return None if len(kept) == len(ids) else [int(row) for row in kept]
        known, made = self.listing, self._made
        labels = known.y if known is not None else torch.empty(0) if made is None else made.y
        names = known.class_names if known is not None else [str(number) for number in range(self.outputs)]
        rows = drawn(self.name, ids[kept], labels.numpy()[kept], names, images=images, shots=shots or 0, seed=seed)
        return [int(row) for row in kept[rows]]

    def image_bytes(self, photo: Photo) -> int:
        """What an image takes in this view, in 8 bits a value."""
        if self.listing is None or self.listing.pixels is not None:
            return 0  # it is in memory already
        view = self.view(photo)
        size = image_size(self.listing.files[0]) if view is None else view.size
        return 0 if size is None else self.channels * size[0] * size[1]

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return 3 if self._made is None else self._made.x.shape[1]

    @property
    def notes(self) -> list[str]:
        """What a reader of its numbers has to know."""
        if self.listing is None or self.kind is None:
            return []
        missing = shortfall(self.listing, self.kind, self._options.split or "test")
        lacks = [f"not complete: {missing}"] if missing else []
        return [*self._notes, *self.listing.doubts, *self.listing.notes, *lacks]

    def view(self, photo: Photo) -> View | None:
        """What is done to each image for a model that asks for photographs in this view; `None` leaves it as it is."""
        listing = self.listing
        if listing is None or listing.pixels is not None or self._options.transform == "as-is":
            return None
        if self._options.transform == "auto":
            own = {image_size(file) for file in listing.files[:: max(len(listing) // _LOOKED_AT, 1)]}
            own -= {None}  # of one that cannot be read, which says nothing of the others
            # Images of one size, from a set made at it or from one's own folder, are not resized a second time.
            if listing.as_is or (self.kind in ("folder", "folder-c") and len(own) == 1):
                return Whole(photo.size) if photo.fixed and own != {photo.size} else None
        return photo

    def forget(self) -> None:
        """Let go of what was listed: of many sets, all listings together are large."""
        self.__dict__.pop("listing", None)

    def read(
        self,
        photo: Photo,
        on_images: Callable[[int], None] = lambda count: None,
        *,
        rows: Sequence[int] | None = None,
        cache: Path | None = None,
        known: Known | None = None,
    ) -> Samples:
        """Its samples as a model sees them.

        Args:
            photo: The view of photographs that the model asks for.
            on_images: Told how many images are decoded, now and then.
            rows: Which samples, by their indices in the listing; by default all. The others are not decoded.
            cache: Folder that keeps decoded images, where the options name none.
            known: Gives the pixels of images that were decoded before in the same view, and `None` of others.
        """
        if self._made is not None:
            return self._made if rows is None else self._made.take(torch.tensor(rows), self._made.name)
        listing, options = self._listed, self._options
        view = self.view(photo)
        if rows is not None:
            listing = listing.take(rows)
        return read_samples(
            listing,
            view=view,
            workers=self._workers(len(listing)),
            cache=options.cache or cache,
            skip_damaged=options.skip_damaged,
            on_images=on_images,
            known=known,
        )

    def pixel_hashes(self, photo: Photo) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Ids of its images and hashes of their pixels in this view; of files none is kept in memory.

        Images that cannot be read are left out, for `read` to name.
        """
        if self._made is not None:
            return self._made.ids.numpy(), pixel_hashes(self._made.x)
        listing = self._listed
        if listing.pixels is not None:
            return listing.ids.numpy(), pixel_hashes(listing.pixels)
        rows: list[int] = []
        hashes = [np.empty(0, dtype=np.uint64)]
        for part in decode_all(listing.files, self.view(photo), workers=self._workers(len(listing))):
            rows += part.rows
            hashes += [pixel_hashes(part.pixels)] if part.rows else []
        return listing.ids.numpy()[rows], np.concatenate(hashes)

    @property
    def _listed(self) -> Listing:
        if self.listing is None:
            raise RuntimeError(f"{self.name} has neither files nor samples")
        return self.listing

    def _workers(self, images: int) -> int:
        if self._options.workers is not None:
            return self._options.workers
        return 0 if images < _FEW else min(usable_processors(), _MOST_WORKERS)


def open_data(names: Sequence[str], options: ReadOptions) -> list[Opened]:
    """The sets that names stand for, in their order; those of many parts, such as ImageNet-C, as many sets.

    Args:
        names: A known data set (`digits`), a folder or an archive, or one with its kind in front
            (`imagenet-real=PATH`).
        options: How they are read.

    Raises:
        UnknownName: no such data set, kind, split, transform or order of classes.
        BadInput: a split of data that has none, a class named twice, or a folder that does not hold what was said.
    """
    Numbering(options.class_names, options.class_order)  # refused before any work, whatever the data
    if options.split is not None and options.split not in SPLITS:
        raise UnknownName("split", options.split, SPLITS)
    if options.transform not in TRANSFORMS:
        raise UnknownName("transform", options.transform, TRANSFORMS)
    opened = [part for name in names for part in _opened(name, options)]
    twice = sorted({part.name for part in opened if [other.name for other in opened].count(part.name) > 1})
    if twice:
        raise BadInput(f"data set {twice[0]} is given twice: each is a column of its own, give it once")
    return opened


def _opened(text: str, options: ReadOptions) -> list[Opened]:
    if text in SOURCES:
        part = options.split or "test"
        return [Opened(text, text, None, None, lambda: source_parts(text, options.used.get(text))[part], options)]
    kind, equals, path = text.partition("=")
    if not equals or (kind not in FACTS and Path(text).exists()):
        kind, path = "", text
    if not kind and not Path(path).exists():
        raise UnknownName("data set", text, [*SOURCES, *FACTS])
    split = options.split or "test"
    found = find_set(
        Path(path),
        kind or None,
        split=split,
        class_names=options.class_names,
        class_order=options.class_order,
        carried=options.carried,
    )
    if options.split is not None and found.kind not in ("cifar10", "cifar100"):
        raise BadInput(f"--split {split} of the folder {path}: a folder is measured whole, leave the option out")
    if split not in ("train", "test"):
        raise BadInput(f"--split {split} of {path}: CIFAR has train and test")
    missing = lacking(found)
    # Of one's own images somebody may have wanted only some corruptions.
    if missing is not None and FACTS[found.kind].images is not None and not options.partial:
        raise BadInput(
            f"{path} is not complete: {missing}; copy them, or measure what is there by --partial. "
            f"Expected: {FACTS[found.kind].layout}"
        )
    # The subsets of a C version share a column, `NAME/corruption/severity`; all others have their own.
    parts = [(part, part.name.split("/")[0] if found.kind.endswith("-c") else part.name) for part in found.parts]
    # What is said of all of them is said once, by the first.
    remark = f"taken for {FACTS[found.kind].title} ({found.kind}), {found.remark}" if found.remark else ""
    said = [*([remark] if remark else []), *([f"not complete: {missing}"] if missing is not None else [])]
    notes = [said if part is parts[0] else [] for part in parts]
    return [
        Opened(part.name, column, found.kind, part.open, None, options, noted, remark)
        for (part, column), noted in zip(parts, notes, strict=True)
    ]
