"""A data set in a folder or an archive: what it was taken for, and how to open its parts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from seasoning.data.catalogue import FACTS, wanted
from seasoning.data.cifar import cifar_listing
from seasoning.data.class_names import Numbering
from seasoning.data.corrupted_sets import (
    Origin,
    Subset,
    cifar_c_listing,
    corruption_folders,
    folder_c_listing,
    missing_subsets,
    origin_of,
)
from seasoning.data.files import Tree, folders_in, is_archive, read_tree
from seasoning.data.folder import tree_listing
from seasoning.data.imagenet import flat_listing, real_listing, wnid_listing, wnids
from seasoning.data.imagenet_variants import conflict_listing, masked_listing, sketch_listing, v2_listing
from seasoning.data.kinds import Look, look_at, variant_of
from seasoning.data.listing import Listing
from seasoning.errors import BadInput, UnknownName


__all__ = ["LISTERS", "Part", "Recognised", "find_set", "lacking", "shortfall"]

_MOST_NAMED = 10


class Part(NamedTuple):
    """One set of images with one number: a whole data set, a variant of it, or a corruption at a severity."""

    name: str
    open: Callable[[], Listing]


class Recognised(NamedTuple):
    """A data set.

    Args:
        kind: A key of `FACTS`.
        root: Where it lies.
        parts: Its parts.
        remark: Where nobody said the kind and it could be another one: why it is this, and how to say otherwise.
    """

    kind: str
    root: Path
    parts: list[Part]
    remark: str = ""


def find_set(
    root: Path,
    kind: str | None = None,
    *,
    split: str = "test",
    class_names: Sequence[str] | None = None,
    class_order: str = "auto",
    carried: Sequence[str] | None = None,
) -> Recognised:
    """A data set in a folder or an archive.

    Args:
        root: Where it lies.
        kind: A key of `FACTS`; by default that which the folder looks like.
        split: Of CIFAR: `"train"` or `"test"`.
        class_names: The model's classes in the order of its logits, for images of one's own.
        class_order: Of images of one's own without such names: a name from `CLASS_ORDERS`.
        carried: The classes as the model's checkpoint names them, for images of one's own.

    Raises:
        UnknownName: no such data set or order.
        BadInput: it is not there, or not laid out so.
    """
    if kind is not None and kind not in FACTS:
        raise UnknownName("data set", kind, FACTS)
    named = None if class_names is None else tuple(class_names)
    numbering = Numbering(named, class_order, None if carried is None else tuple(carried))
    if not root.is_dir() and not is_archive(root):
        raise BadInput(f"{root} is {'no folder and no tar archive' if root.exists() else 'not there'}; {wanted(kind)}")
    seen = look_at(root)
    remark = ""
    if kind is None:
        kind = "folder" if class_names is not None and seen.kind != "folder-c" else seen.kind
        remark = "" if class_names is not None else _remark(seen, root)
    if kind in ("imagenet-c", "folder-c", "cifar10-c", "cifar100-c"):
        parts = _c_parts(seen.root, kind, numbering)
    elif kind == "imagenet-v2":
        parts = _v2_parts(seen.root)
    else:
        name = seen.root.resolve().name if kind == "folder" else kind
        parts = [Part(name, partial(_single, seen.root, kind, split, numbering))]
    if not parts:
        raise BadInput(f"{root} holds no {FACTS[kind].title}; {wanted(kind)}")
    return Recognised(kind, seen.root, parts, remark)


def _remark(seen: Look, root: Path) -> str:
    """Why a folder was taken for what it was, where it could be something else, and how to say so."""
    if seen.alike is not None:
        title = FACTS[seen.alike].title
        return f"its folders are called like classes of {title}: {seen.alike}={root} reads them as those"
    if FACTS[seen.kind].images is None:
        return ""
    return f"by the names and the number of its files: folder={root} reads it as images of your own"


def lacking(found: Recognised) -> str | None:
    """The subsets that a set of several lacks, such as `"missing: fog/3, fog/4"`; `None` where all are there."""
    missing = list(missing_subsets(corruption_folders(found.root))) if FACTS[found.kind].subsets > 1 else []
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return f"missing: {', '.join(missing[:_MOST_NAMED])}{more}" if missing else None


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


def _single(root: Path, kind: str, split: str, numbering: Numbering) -> Listing:
    tree = read_tree(root)
    try:
        if kind in ("cifar10", "cifar100"):
            return cifar_listing(tree, split)
        if kind == "folder":
            return tree_listing(tree, numbering)
        if kind == "imagenet-real":
            beside = root if root.is_dir() else root.parent
            real = next((path for path in (beside / "real.json", beside.parent / "real.json") if path.is_file()), None)
            return replace(real_listing(LISTERS["imagenet"](tree, "imagenet"), real), name=kind)
        return LISTERS[kind](tree, kind)
    except BadInput as error:
        raise BadInput(f"{error}\n{wanted(kind)}") from error


def _imagenet(tree: Tree, name: str) -> Listing:
    return wnid_listing(tree, name) if set(wnids()) & set(tree.folders) else flat_listing(tree, name)


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
    roots = {path: variant_of(path.name) for path in [root, *(root / name for name in folders_in(root))]}
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
        raise BadInput(f"{error}\n{wanted('imagenet-v2')}") from error


def _c_parts(root: Path, kind: str, numbering: Numbering) -> list[Part]:
    subsets, made = corruption_folders(root), origin_of(root)
    if kind.startswith("cifar"):
        arrays = [subset for subset in subsets if subset.path.is_file()]
        return [_c_part(kind, array, partial(cifar_c_listing, array, kind, made.split or "test")) for array in arrays]
    name = root.resolve().name if kind == "folder-c" else kind
    parts: list[Part] = []
    for folder in (subset for subset in subsets if subset.path.is_dir()):
        # The first says for all how the classes are numbered.
        lister = _published_c if kind == "imagenet-c" else partial(_as_made, made, numbering, bool(parts))
        parts.append(_c_part(name, folder, partial(folder_c_listing, folder, name, lister)))
    return parts


def _published_c(tree: Tree, name: str) -> Listing:
    # A second resize would blur them.
    return replace(_imagenet(tree, name), as_is=True)


def _as_made(made: Origin, numbering: Numbering, quiet: bool, tree: Tree, name: str) -> Listing:
    """A subset with the labels and the ids of what it was made of, even where classes of it are missing."""
    if numbering.names is None and made.kind in LISTERS and LISTERS[made.kind] is not _tree:
        listing = LISTERS[made.kind](tree, name)
    else:
        family = f"{made.kind}/{made.split}" if made.split else ""
        listing = tree_listing(tree, numbering, name, family=family, recorded=made.classes, quiet=quiet)
    return replace(listing, whole=made.images)


def _c_part(name: str, each: Subset, opened: Callable[[], Listing]) -> Part:
    return Part(f"{name}/{each.corruption}/{each.severity}", opened)
