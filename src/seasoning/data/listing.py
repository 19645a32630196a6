"""A data set before any pixel is decoded: what every sample is, and where its image lies."""

import hashlib
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from seasoning.data.labels import LabelMap
from seasoning.errors import BadInput


__all__ = ["ImageFile", "Listing", "Tree", "is_archive", "listed", "read_tree", "stable_id"]

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_FLAT = re.compile(
    r"(?!n\d{8}/)[^/]+/ILSVRC2012_val_\d{8}"
)  # validation images of ImageNet in a folder that is no class


class ImageFile(NamedTuple):
    """Where a file lies: its name below the root, the file that holds its bytes, and which of those they are.

    Bytes of a compressed archive, which cannot be reached one by one, are held as `content`.
    """

    name: str
    path: str
    offset: int = 0
    size: int = -1
    content: bytes | None = None

    def read(self) -> bytes:
        """Its bytes."""
        if self.content is not None:
            return self.content
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class Tree(NamedTuple):
    """The files below a folder or in an archive, in the order of their names, and the folders right below it."""

    root: Path
    folders: tuple[str, ...]
    files: tuple[ImageFile, ...]

    def images(self) -> list[ImageFile]:
        """The files that are images by their suffix."""
        return [each for each in self.files if each.name.lower().endswith(IMG_EXTENSIONS)]


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """What a data set holds.

    Args:
        name: Such as `"imagenet-a"`.
        ids: Sample ids, `(N,)` int64; the same photograph has one id in all sets that are made of it.
        y: Classes, `(N,)` int64.
        class_names: Name of each class.
        places: Where the images lie, one for each sample; or else
        pixels: the images themselves, `(N, C, H, W)` uint8.
        as_is: Whether the images are measured at the size they have, since the set was made at it.
        valid, texture, label_map: As in `seasoning.data.Samples`.
        notes: What a reader of the numbers has to know.
        whole: How many images there are if none is missing, where that was noted when the set was made.
    """

    name: str
    ids: Tensor
    y: Tensor
    class_names: tuple[str, ...]
    places: tuple[ImageFile, ...] = ()
    pixels: Tensor | None = None
    as_is: bool = False
    valid: Tensor | None = None
    texture: Tensor | None = None
    label_map: LabelMap | None = None
    notes: tuple[str, ...] = ()
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
        """The samples at these places in the order."""
        index = torch.tensor(rows, dtype=torch.int64)
        columns = {name: getattr(self, name) for name in ("ids", "y", "pixels", "valid", "texture")}
        picked = {name: column[index] for name, column in columns.items() if column is not None}
        return replace(self, places=tuple(self.places[row] for row in rows) if self.places else (), **picked)


def stable_id(name: str) -> int:
    """63 bits of the hash of a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def listed(
    name: str, places: Sequence[ImageFile], labels: Sequence[int], class_names: Sequence[str], bases: Sequence[str]
) -> Listing:
    """A listing of files.

    Args:
        name: Of the data set.
        places: The images.
        labels: Their classes.
        class_names: All classes.
        bases: Name of the photograph that each image was made from, without a suffix; two of one name keep theirs.

    Raises:
        BadInput: there are no images.
    """
    if not places:
        raise BadInput(f"{name}: no images found")
    twice = {base for base, count in Counter(bases).items() if count > 1}
    names = [
        base + PurePosixPath(place.name).suffix if base in twice else base
        for base, place in zip(bases, places, strict=True)
    ]
    ids = torch.tensor([stable_id(each) for each in names])
    return Listing(name, ids, torch.tensor(list(labels)), tuple(class_names), tuple(places))


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of a tar archive, compressed or not."""
    return path.name.lower().endswith(_ARCHIVES) and path.is_file()


def read_tree(root: Path) -> Tree:
    """What lies below a folder, or in an archive as it is: nothing is unpacked.

    Hidden files are passed over. A lone top folder of an archive is no part of the names.

    Raises:
        BadInput: the archive is damaged.
    """
    files = list(_in_archive(root, root.stat().st_mtime_ns)) if is_archive(root) else _in_folder(root)
    if is_archive(root):
        folders = {each.name.split("/", 1)[0] for each in files if "/" in each.name}
    else:
        folders = {each.name for each in root.iterdir() if each.is_dir() and not each.name.startswith(".")}
    return Tree(root, tuple(sorted(folders)), tuple(sorted(files)))


def _in_folder(root: Path) -> list[ImageFile]:
    places = []
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = [each for each in below if not each.startswith(".")]
        prefix = Path(folder).relative_to(root).as_posix()
        prefix = "" if prefix == "." else prefix + "/"
        places += [ImageFile(prefix + each, os.path.join(folder, each)) for each in names if not each.startswith(".")]
    return places


@lru_cache(maxsize=1)
def _in_archive(path: Path, changed: int) -> tuple[ImageFile, ...]:
    compressed = not path.name.lower().endswith(".tar")
    places = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).as_posix()
                if not member.isfile() or any(part.startswith(".") for part in name.split("/")):
                    continue
                file = archive.extractfile(member) if compressed else None
                content = None if file is None else file.read()
                places.append(ImageFile(name, str(path), member.offset_data, member.size, content))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInput(f"{path} is no archive, or damaged ({error}): copy it again") from error
    return tuple(_without_lone_folder(places))


def _without_lone_folder(places: Iterable[ImageFile]) -> list[ImageFile]:
    places = list(places)
    while places and len({each.name.split("/", 1)[0] for each in places}) == 1:
        # With one more folder below, the top is no class; a flat lone folder holds the files of a set, or is a class.
        depths = {each.name.count("/") for each in places}
        images = [each.name for each in places if each.name.lower().endswith(IMG_EXTENSIONS)]
        if min(depths) < 1 or (depths == {1} and images and not all(map(_FLAT.match, images))):
            break
        places = [each._replace(name=each.name.split("/", 1)[1]) for each in places]
    return places
