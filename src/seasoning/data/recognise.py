"""Which data set a folder or an archive holds, and how to open it."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from seasoning.data.catalogue import FACTS, V2_VARIANTS
from seasoning.data.cifar import CIFAR10, cifar_form, cifar_listing
from seasoning.data.corrupted_sets import (
    MADE_OF,
    Origin,
    Subset,
    cifar_c_listing,
    corruption_folders,
    folder_c_listing,
    missing_subsets,
    origin_of,
)
from seasoning.data.folder import tree_listing
from seasoning.data.imagenet import VALIDATION, flat_listing, real_listing, subset, wnid_listing, wnids
from seasoning.data.imagenet_variants import STIMULUS, conflict_listing, masked_listing, sketch_listing, v2_listing
from seasoning.data.listing import Listing, Tree, is_archive, read_tree
from seasoning.errors import BadInput, UnknownName
from seasoning.noise import CORRUPTIONS


__all__ = ["LISTERS", "Part", "Recognised", "find_set", "lacking", "recognise", "shortfall"]

_MOST_NAMED = 10
_LOOKED_AT = 40  # files of a class that are looked at to tell sets apart
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


class Part(NamedTuple):
    """One set of images with one number: a whole data set, a variant of it, or a corruption at a severity."""

    name: str
    open: Callable[[], Listing]


class Recognised(NamedTuple):
    """A data set: a key of `FACTS`, where it lies, and its parts."""

    kind: str
    root: Path
    parts: list[Part]


def find_set(
    root: Path, kind: str | None = None, *, split: str = "test", class_names: Sequence[str] | None = None
) -> Recognised:
    """A data set in a folder or an archive.

    Args:
        root: Where it lies.
        kind: A key of `FACTS`; by default that which the folder looks like.
        split: Of CIFAR: `"train"` or `"test"`.
        class_names: The model's classes in the order of its logits, for images of one's own.

    Raises:
        UnknownName: no such data set.
        BadInput: it is not there, or not laid out so.
    """
    if kind is not None and kind not in FACTS:
        raise UnknownName("data set", kind, FACTS)
    if not root.is_dir() and not is_archive(root):
        raise BadInput(f"{root} is {'no folder and no tar archive' if root.exists() else 'not there'}; {_wanted(kind)}")
    seen, inner = recognise(root)
    if kind is None:
        kind = "folder" if class_names is not None and seen != "folder-c" else seen
    if kind in ("imagenet-c", "folder-c", "cifar10-c", "cifar100-c"):
        parts = _c_parts(inner, kind, class_names)
    elif kind == "imagenet-v2":
        parts = _v2_parts(inner)
    else:
        name = inner.resolve().name if kind == "folder" else kind
        parts = [Part(name, partial(_single, inner, kind, split, class_names))]
    if not parts:
        raise BadInput(f"{root} holds no {FACTS[kind].title}; {_wanted(kind)}")
    return Recognised(kind, inner, parts)


def lacking(found: Recognised) -> str | None:
    """The subsets that a set of several lacks, such as `"missing: fog/3, fog/4"`; `None` where all are there."""
    missing = list(missing_subsets(corruption_folders(found.root))) if FACTS[found.kind].subsets > 1 else []
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return f"missing: {', '.join(missing[:_MOST_NAMED])}{more}" if missing else None


def recognise(root: Path) -> tuple[str, Path]:
    """The key of `FACTS` that a folder or an archive looks like, and the folder that really holds it.

    Raises:
        BadInput: it looks like none.
    """
    root = root.absolute()
    found = _recognised(root)
    if found in (None, "folder") and root.is_dir():
        below = [each for each in sorted(root.iterdir()) if each.is_dir() and not each.name.startswith(".")]
        inner = [each for each in below if each.name == "val"] or (below if len(below) == 1 else [])
        deeper = _recognised(inner[0]) if inner else None
        if deeper is not None and deeper != "folder":
            return deeper, inner[0]
    if found is None:
        raise BadInput(f"{root} holds no data set that is known here; {_wanted(None)}")
    return found, root


def shortfall(listing: Listing, kind: str, split: str = "test") -> str | None:
    """In words, how a listing differs from the published data set or from its own note, with the classes; or `None`."""
    facts = FACTS[kind]
    whole = facts.images if listing.whole is None else listing.whole
    if whole is None:
        return None
    train = kind.startswith("cifar") and (split == "train" or len(listing) == 5 * whole)
    times = 5 if train else 1
    images, per_class = whole * times, None if facts.per_class is None else facts.per_class * times
    counts = listing.counts()
    if len(listing) == images and (per_class is None or set(counts.values()) == {per_class}):
        return None
    if per_class is not None:
        wrong = [f"{name} {count} of {per_class}" for name, count in counts.items() if count != per_class]
    else:
        wrong = [f"{name} {count}" for name, count in counts.items() if count == 0] or [
            "none is empty; smallest: "
            + ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: pair[1])[:3])
        ]
    more = f" and {len(wrong) - 10} more classes" if len(wrong) > 10 else ""
    return f"{len(listing):,} of {images:,} images; by class: {', '.join(wrong[:10])}{more}"


def _single(root: Path, kind: str, split: str, class_names: Sequence[str] | None) -> Listing:
    tree = read_tree(root)
    try:
        if kind in ("cifar10", "cifar100"):
            return cifar_listing(tree, split)
        if kind == "folder":
            return tree_listing(tree, class_names)
        if kind == "imagenet-real":
            beside = root if root.is_dir() else root.parent
            real = next((each for each in (beside / "real.json", beside.parent / "real.json") if each.is_file()), None)
            return replace(real_listing(LISTERS["imagenet"](tree, "imagenet"), real), name=kind)
        return LISTERS[kind](tree, kind)
    except BadInput as error:
        raise BadInput(f"{error}\n{_wanted(kind)}") from error


def _imagenet(tree: Tree, name: str) -> Listing:
    return wnid_listing(tree, name) if any(each in _wnid_set() for each in tree.folders) else flat_listing(tree, name)


def _tree(tree: Tree, name: str) -> Listing:
    return tree_listing(tree, name=name)


LISTERS: dict[str, Callable[[Tree, str], Listing]] = {
    "imagenet": _imagenet,
    "imagenet-v2": v2_listing,
    "imagenet-a": partial(masked_listing, letter="a"),
    "imagenet-r": partial(masked_listing, letter="r"),
    "imagenet-sketch": sketch_listing,
    "conflict-stimuli": conflict_listing,
    "folder": _tree,
    "cifar10": _tree,
    "cifar100": _tree,
}


def _v2_parts(root: Path) -> list[Part]:
    roots = {each: _variant(each.name) for each in [root, *_folders(root)]}
    named = {path: variant for path, variant in roots.items() if variant is not None}
    if not named:
        return [Part("imagenet-v2", partial(_v2_variant, root, "imagenet-v2"))]
    names = {path: f"imagenet-v2/{variant}" for path, variant in named.items()}
    if root in names:
        names = {root: names[root]}
    return [Part(name, partial(_v2_variant, path, name)) for path, name in names.items()]


def _v2_variant(root: Path, name: str) -> Listing:
    try:
        return v2_listing(read_tree(root), name)
    except BadInput as error:
        raise BadInput(f"{error}\n{_wanted('imagenet-v2')}") from error


def _variant(name: str) -> str | None:
    return next((each for each in V2_VARIANTS if "imagenetv2" in name and each in name), None)


def _c_parts(root: Path, kind: str, class_names: Sequence[str] | None) -> list[Part]:
    subsets, made = corruption_folders(root), origin_of(root)
    if kind.startswith("cifar"):
        arrays = [each for each in subsets if each.path.is_file()]
        return [_c_part(kind, each, partial(cifar_c_listing, each, kind, made.split or "test")) for each in arrays]
    name = root.resolve().name if kind == "folder-c" else kind
    lister = _published_c if kind == "imagenet-c" else partial(_as_made, made, class_names)
    return [
        _c_part(name, each, partial(folder_c_listing, each, name, lister)) for each in subsets if each.path.is_dir()
    ]


def _published_c(tree: Tree, name: str) -> Listing:
    # A second resize would blur them.
    return replace(_imagenet(tree, name), as_is=True)


def _as_made(made: Origin, class_names: Sequence[str] | None, tree: Tree, name: str) -> Listing:
    """A subset with the labels and the ids of what it was made of, even where classes of it are missing."""
    if class_names is None and made.kind in LISTERS and LISTERS[made.kind] is not _tree:
        listing = LISTERS[made.kind](tree, name)
    else:
        family = f"{made.kind}/{made.split}" if made.split else ""
        listing = tree_listing(tree, made.classes if class_names is None else class_names, name, family=family)
    return replace(listing, whole=made.images)


def _c_part(name: str, each: Subset, opened: Callable[[], Listing]) -> Part:
    return Part(f"{name}/{each.corruption}/{each.severity}", opened)


def _recognised(root: Path) -> str | None:
    """What a folder looks like from the names in it; a few files of each of a few classes are enough."""
    names, folders = _names(root)
    below = [name.rsplit("/", 1)[-1] for name in names if "/" in name]
    flat = [name for name in names if "/" not in name]
    subsets = corruption_folders(root) if root.is_dir() else []
    if subsets:
        return _recognised_c(subsets)
    if is_archive(root):
        _refuse_packed_c(root, names)
    tree = Tree(root, (), tuple(read_tree(root).files)) if is_archive(root) else None
    mark = cifar_form(tree if tree is not None else _shallow(root))
    if mark is not None:
        return "cifar10" if mark.startswith("test_batch") else "cifar100"
    if any(_variant(each.name) for each in [root, *_folders(root)]):
        return "imagenet-v2"
    if len(folders) >= 100 and all(each.isdigit() for each in folders) and max(map(int, folders)) < len(wnids()):
        return "imagenet-v2"
    if 2 * len(_wnid_set() & set(folders)) > len(folders):
        return _recognised_wnids(set(folders), below)
    images = below or flat
    if images and 2 * sum(STIMULUS.fullmatch(each.lower()) is not None for each in images) > len(images):
        return "conflict-stimuli"
    if any(VALIDATION.match(each) for each in flat) or "ILSVRC2012_img_val.tar" in flat:
        return "imagenet"
    splits = [each for each in folders if each in ("train", "test")]
    inside = set(_folder_names(root / splits[0])) if splits and root.is_dir() else set(folders)
    if inside and inside <= set(CIFAR10) and len(inside) > len(CIFAR10) / 2:
        return "cifar10"
    return "folder" if folders else None


def _refuse_packed_c(root: Path, names: Sequence[str]) -> None:
    """A C version is read from a folder; in an archive its corruptions would be taken for classes."""
    packed = next((name for name in names if _SUBSET.match(name)), None)
    if packed is not None:
        raise BadInput(
            f"{root} holds a C version, such as {packed}: unpack it, C versions are read from folders; "
            f"expected {FACTS['imagenet-c'].layout}, or {FACTS['cifar10-c'].layout}"
        )


def _recognised_wnids(folders: set[str], files: Sequence[str]) -> str:
    """Which of the sets in WordNet folders: by the names of the files, else by the classes."""
    kinds = {each.split("_", 1)[0] for each in files}
    if any(VALIDATION.match(each) for each in files):
        return "imagenet"
    if kinds == {"sketch"}:
        return "imagenet-sketch"
    if kinds and kinds <= _RENDITIONS:
        return "imagenet-r"
    if files and all(each[:2] in ("0.", "1.") and "_" in each for each in files):
        return "imagenet-a"
    for letter in "ar":
        if folders == set(subset(letter)):
            return f"imagenet-{letter}"
    return "imagenet"


def _recognised_c(subsets: Sequence[Subset]) -> str:
    first = subsets[0].path
    if first.is_file():
        import numpy as np

        labels = first.parent / "labels.npy"
        many = labels.is_file() and int(np.load(labels, mmap_mode="r", allow_pickle=False).max()) >= len(CIFAR10)
        return "cifar100-c" if many else "cifar10-c"
    folders = _folder_names(first)
    made_here = any((parent / MADE_OF).is_file() for parent in (first.parents[1], first.parents[2]))
    return "imagenet-c" if folders and set(folders) <= _wnid_set() and not made_here else "folder-c"


def _names(root: Path) -> tuple[list[str], list[str]]:
    """Some file names below a folder (all of an archive), and the top folders."""
    if is_archive(root):
        tree = read_tree(root)
        return [place.name for place in tree.files], list(tree.folders)
    folders = _folder_names(root)
    names = [each.name for each in os.scandir(root) if each.is_file() and not each.name.startswith(".")]
    for folder in folders[:: max(len(folders) // 20, 1)]:
        found = sorted(each for each in os.listdir(root / folder) if not each.startswith("."))
        names += [f"{folder}/{each}" for each in found[:: max(len(found) // _LOOKED_AT, 1)]]
    return names, folders


def _shallow(root: Path) -> Tree:
    """Only the files right in a folder."""
    from seasoning.data.listing import ImageFile

    return Tree(root, (), tuple(ImageFile(each.name, each.path) for each in os.scandir(root) if each.is_file()))


def _folders(root: Path) -> list[Path]:
    return [root / each for each in _folder_names(root)] if root.is_dir() else []


def _folder_names(root: Path) -> list[str]:
    return sorted(each.name for each in os.scandir(root) if each.is_dir() and not each.name.startswith("."))


def _wnid_set() -> set[str]:
    return set(wnids())


def _wanted(kind: str | None) -> str:
    """Layout and origin of a data set in words; of none, the names of all."""
    if kind is None:
        return f"expected {FACTS['folder'].layout}; or one of {', '.join(FACTS)}, see `seasoning data list`"
    return f"expected for {kind}: {FACTS[kind].layout}. To be had from: {FACTS[kind].origin}"
