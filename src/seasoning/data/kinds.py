"""Which data set a folder or an archive looks like, by what is in it; nothing is opened."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seasoning.data.catalogue import FACTS, V2_VARIANTS, wanted
from seasoning.data.cifar import CIFAR10, cifar_form
from seasoning.data.corrupted_sets import MADE_OF, Subset, corruption_folders
from seasoning.data.files import Tree, files_in, folders_in, is_archive, read_tree
from seasoning.data.imagenet import VALIDATION, subset, wnids
from seasoning.data.imagenet_variants import is_stimulus
from seasoning.errors import BadInput
from seasoning.noise import CORRUPTIONS


__all__ = ["Look", "look_at", "variant_of"]

_LOOKED_AT = 40  # files of a class that are looked at to tell sets apart
_MOST_BELOW = 50  # folders that are looked into for data sets of their own
_SUBSET = re.compile(rf"(.*/)?({'|'.join(CORRUPTIONS)})(/[1-5]/|\.npy$)")
_RENDITIONS = frozenset(
    (
        "art",
        "cartoon",
        "deviantart",
        "embroidery",
        "graffiti",
        "graphic",
        "misc",
        "origami",
        "painting",
        "pattern",
        "plastic",
        "plush",
        "sculpture",
        "sketch",
        "sticker",
        "tattoo",
        "toy",
        "videogame",
    )
)


class Look(NamedTuple):
    """What a folder looks like.

    Args:
        kind: A key of `FACTS`.
        root: The folder that really holds it.
        alike: The published set whose classes it shares without being it, a key of `FACTS`; or `None`.
    """

    kind: str
    root: Path
    alike: str | None = None


def look_at(root: Path) -> Look:
    """What a folder or an archive looks like.

    Images of one's own may have the classes of a published set: only files named or counted as published make it one.

    Raises:
        BadInput: it looks like nothing that is known, or holds several data sets.
    """
    root = root.absolute()
    found = _kind(root)
    if found in (None, "folder") and root.is_dir():
        below = [root / name for name in folders_in(root)]
        inner = [path for path in below if path.name == "val"] or (below if len(below) == 1 else [])
        deeper = _kind(inner[0]) if inner else None
        if deeper is not None and deeper != "folder":
            return Look(deeper, inner[0])
        _refuse_several(root, below)
    if found is None:
        raise BadInput(f"{root} holds no data set that is known here; {wanted(None)}")
    return Look(found, root, _alike(root) if found == "folder" else None)


def variant_of(name: str) -> str | None:
    """The variant of ImageNetV2 that a folder of this name holds."""
    return next((variant for variant in V2_VARIANTS if "imagenetv2" in name and variant in name), None)


def _refuse_several(root: Path, below: Sequence[Path]) -> None:
    """A folder of published sets is no folder of classes."""
    if len(below) > _MOST_BELOW:
        return
    kinds = {path.name: _kind(path) for path in below if not _has_images(path)}
    known = {name: FACTS[kind].title for name, kind in kinds.items() if kind is not None and kind != "folder"}
    if known:
        listed = ", ".join(f"{root / name} ({title})" for name, title in known.items())
        raise BadInput(f"{root} is no data set, it lies above {listed}: give the folder of one")


def _has_images(root: Path) -> bool:
    return bool(Tree(root, (), tuple(files_in(root))).images())


def _kind(root: Path) -> str | None:
    """What a folder or an archive looks like from the names in it; a few files of each of a few classes are enough."""
    names, folders = _names(root)
    below = [name.rsplit("/", 1)[-1] for name in names if "/" in name]
    flat = [name for name in names if "/" not in name]
    subsets = corruption_folders(root) if root.is_dir() else []
    if subsets:
        return _c_kind(subsets)
    if is_archive(root):
        _refuse_packed_c(root, names)
    mark = cifar_form(Tree(root, (), read_tree(root).files) if is_archive(root) else _shallow(root))
    if mark is not None:
        return "cifar10" if mark.startswith("test_batch") else "cifar100"
    if any(map(variant_of, [root.name, *folders_in(root)])):
        return "imagenet-v2"
    if set(folders) == {str(number) for number in range(len(wnids()))} and _count(root, folders) == 10 * len(folders):
        return "imagenet-v2"
    if 2 * len(_wnid_set() & set(folders)) > len(folders):
        return _wnid_kind(root, folders, below)
    images = below or flat
    if images and 2 * sum(map(is_stimulus, images)) > len(images):
        return "conflict-stimuli"
    if any(VALIDATION.match(name) for name in flat) or "ILSVRC2012_img_val.tar" in flat:
        return "imagenet"
    if _is_cifar10(root, folders):
        return "cifar10"
    return "folder" if folders else None


def _is_cifar10(root: Path, folders: Sequence[str]) -> bool:
    """Whether folders of images are CIFAR-10: its ten classes, with as many images of each as published."""
    published = {"train": 5000, "test": 1000}
    if set(folders) == set(CIFAR10):
        return {_count(root, [name]) for name in folders} in [{count} for count in published.values()]
    splits = [name for name in folders if name in published]
    return bool(splits) and all(
        _count(root, [f"{split}/{name}"]) == published[split] for split in splits for name in CIFAR10
    )


def _alike(root: Path) -> str | None:
    """The published set whose classes the folders of one's own are, all of them or some."""
    folders = set(_names(root)[1])
    if len(folders & set(CIFAR10)) > len(CIFAR10) / 2 and folders <= set(CIFAR10):
        return "cifar10"
    return "imagenet" if folders and folders <= _wnid_set() else None


def _wnid_kind(root: Path, folders: Sequence[str], files: Sequence[str]) -> str:
    """Which of the sets in WordNet folders: by the names of the files, else by the classes and their number."""
    kinds = {name.split("_", 1)[0] for name in files}
    if any(VALIDATION.match(name) for name in files):
        return "imagenet"
    if kinds == {"sketch"}:
        return "imagenet-sketch"
    if kinds and kinds <= _RENDITIONS:
        return "imagenet-r"
    if files and all(name[:2] in ("0.", "1.") and "_" in name for name in files):
        return "imagenet-a"
    classes = {"imagenet": _wnid_set(), "imagenet-a": set(subset("a")), "imagenet-r": set(subset("r"))}
    for kind, known in classes.items():
        if set(folders) == known and _count(root, folders) == FACTS[kind].images:
            return kind
    return "folder"


def _c_kind(subsets: Sequence[Subset]) -> str:
    first = subsets[0].path
    if first.is_file():
        import numpy as np

        labels = first.parent / "labels.npy"
        many = labels.is_file() and int(np.load(labels, mmap_mode="r", allow_pickle=False).max()) >= len(CIFAR10)
        return "cifar100-c" if many else "cifar10-c"
    made_here = any((parent / MADE_OF).is_file() for parent in (first.parents[1], first.parents[2]))
    names, folders = _names(first)
    published = set(folders) == _wnid_set() or any(VALIDATION.search(name) for name in names)
    return "imagenet-c" if folders and set(folders) <= _wnid_set() and published and not made_here else "folder-c"


def _refuse_packed_c(root: Path, names: Sequence[str]) -> None:
    """A C version is read from a folder; in an archive its corruptions would be taken for classes."""
    packed = next((name for name in names if _SUBSET.match(name)), None)
    if packed is not None:
        raise BadInput(
            f"{root} holds a C version, such as {packed}: unpack it, C versions are read from folders; "
            f"expected {FACTS['imagenet-c'].layout}, or {FACTS['cifar10-c'].layout}"
        )


def _names(root: Path) -> tuple[list[str], list[str]]:
    """Some file names below a folder (all of an archive), and the top folders."""
    if is_archive(root):
        tree = read_tree(root)
        return [file.name for file in tree.files], list(tree.folders)
    folders = folders_in(root)
    names = [file.name for file in files_in(root)]
    for folder in folders[:: max(len(folders) // 20, 1)]:
        found = files_in(root / folder)
        names += [f"{folder}/{file.name}" for file in found[:: max(len(found) // _LOOKED_AT, 1)]]
    return names, folders


def _count(root: Path, folders: Sequence[str]) -> int:
    """Files right in some folders."""
    if is_archive(root):
        below = tuple(f"{folder}/" for folder in folders)
        return sum(file.name.startswith(below) for file in read_tree(root).files)
    return sum(len(files_in(root / folder)) for folder in folders)


def _shallow(root: Path) -> Tree:
    """Only the files right in a folder."""
    return Tree(root, (), tuple(files_in(root)))


def _wnid_set() -> set[str]:
    return set(wnids())
