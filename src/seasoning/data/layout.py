"""Whether the folders of a tree are classes: splits of a data set and folders of labels are not."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from seasoning.data.files import Tree, is_archive
from seasoning.errors import BadInput


__all__ = ["layout_doubts", "require_classes"]

_MOST_NAMED = 8

# What folders of splits are called: `train`, `Training Set`, `val2017`, `test_images`, `seg_train` beside `seg_test`.
_SPLITS = {
    "train": r"train(?:ing|val)?|trn",
    "validation": r"val(?:id(?:ation)?)?|dev(?:el)?",
    "test": r"test(?:ing)?|tst|eval(?:uation)?|holdout",
}
_SPLIT = {
    split: re.compile(rf"(?<![a-z])(?:{words})(?:[_ -]?(?:set|split|data|images?|imgs?))?(?![a-z])")
    for split, words in _SPLITS.items()
}
_IMAGES = re.compile(r"(?:jpeg|png|rgb|raw|input)?[_ -]?(?:images?|imgs?|photos?|pictures?)")
_ANSWERS = re.compile(
    r"(?:(?:segmentation|pixel|class|object)[_ -]?)?(?:labels?|masks?|annotations?|targets?|gts?|ground[_ -]?truths?)"
    r"(?:[_ -]?(?:images?|class|object))?|segmentation(?:class|object)"
)


def require_classes(tree: Tree) -> None:
    """Refuse a tree whose folders are splits, hold images and labels apart, or lie one level above the classes.

    Args:
        tree: Of what is to be read as a folder for each class.

    Raises:
        BadInput: with the folders to choose from.
    """
    shape = _Shape(tree)
    tops = shape.below("")
    splits = _splits_among(tops)
    if splits:
        what = "are splits of a data set" if len(tops) > 1 else "is a split of a data set"
        _refuse(tree, tops, f"{what}, not classes", shape.innermost(splits))
    if len(tops) > 1 and all(map(_is_container, tops)) and any(map(_is_images, tops)):
        _refuse(
            tree, tops, "are images and what is said of them, not classes", shape.innermost(filter(_is_images, tops))
        )
    if len(tops) == 1 and not shape.images(tops[0]):
        inner = shape.innermost(tops)
        if len(inner) > 1 or len(shape.below(inner[0])) > 1:
            _refuse(tree, tops, "lies above the folders of classes", inner)
    if len(tops) == 1 and _is_images(tops[0]):
        _refuse(tree, tops, "holds images without classes", [])


def layout_doubts(tree: Tree) -> list[str]:
    """What makes it doubtful that the folders of a tree are classes, in sentences."""
    shape = _Shape(tree)
    tops = shape.below("")
    if len(tops) < 2 or any(map(shape.images, tops)):
        return []
    inside = [set(shape.below(top)) for top in tops]
    shared, every = sorted(set.intersection(*inside)), set.union(*inside)
    if len(shared) < 2 or 2 * len(shared) < len(every):
        return []
    if _splits_among(shared):
        said = f"holds the splits {_some(shared)}: images of all splits are taken together"
    else:
        said = f"holds the same folders {_some(shared)}: if these are the classes, give one of {_paths(tree, tops)}"
    return [f"each of the folders {_some(tops)} {said}"]


class _Shape:
    """Which folders lie in which, and which hold images themselves; folders without any image are left out."""

    def __init__(self, tree: Tree) -> None:
        self._below: dict[str, set[str]] = defaultdict(set)
        self._images: Counter[str] = Counter()
        for image in tree.images():
            *folders, _ = image.name.split("/")
            self._images["/".join(folders)] += 1
            # A folder is known with all above it.
            while folders and folders[-1] not in self._below["/".join(folders[:-1])]:
                name = folders.pop()
                self._below["/".join(folders)].add(name)

    def below(self, folder: str) -> list[str]:
        return sorted(self._below.get(folder, ()))

    def images(self, folder: str) -> int:
        return self._images[folder]

    def innermost(self, folders: Iterable[str]) -> list[str]:
        """For each folder the first one in it, or itself, that is more than a wrapping; of splits all of them."""
        found = []
        for folder in folders:
            # A lone folder with nothing but images is a class, or holds those that the folder above labels.
            while not self._images[folder] and len(inner := self.below(folder)) == 1:
                if not self.below(f"{folder}/{inner[0]}"):
                    break
                folder = f"{folder}/{inner[0]}"
            below = self.below(folder)
            if not self._images[folder] and set(_splits_among(below)) == set(below) != set():
                found += self.innermost(f"{folder}/{name}" for name in below)
            else:
                found.append(folder)
        return found


def _refuse(tree: Tree, tops: Sequence[str], what: str, choices: Sequence[str]) -> None:
    those = f"its folder{'s' if len(tops) > 1 else ''} {_some(tops)} {what}"
    if choices:
        one = "one of " if len(choices) > 1 else ""
        advice = f"give {one}{_paths(tree, choices)}"
        if is_archive(tree.root):
            advice = f"unpack the archive and {advice}"
    else:
        advice = f"expected a folder for each class with images in it, as in {tree.root}/cat/1.png"
    raise BadInput(f"{tree.root}: {those}: {advice}. Should these be classes, name the model's classes by --classes")


def _paths(tree: Tree, folders: Sequence[str]) -> str:
    more = ", …" if len(folders) > _MOST_NAMED else ""
    root = Path(tree.root)
    return ", ".join((folder if is_archive(root) else str(root / folder)) for folder in folders[:_MOST_NAMED]) + more


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def _splits_among(names: Sequence[str]) -> list[str]:
    """Those of some folders that are splits; none where the names may as well be those of classes.

    A train, a bullet train and a test tube are classes: what tells splits is that two kinds of them lie beside each
    other under names that differ in nothing else, or that no folder is called otherwise.
    """
    by_rest: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        split, rest = _split(name)
        if split is not None:
            by_rest[rest][name] = split
    for rest, found in by_rest.items():
        several = len(set(found.values())) > 1 and 2 * len(found) >= len(names)
        if several or (rest == "" and len(found) == len(names)):
            return sorted(found)
    return []


def _split(name: str) -> tuple[str | None, str]:
    """The split that a folder is called by, `None` where it is called by none, and what else its name says."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    for split, words in _SPLIT.items():
        found = words.search(name)
        if found:
            return split, re.sub(r"[^a-z]", "", name[: found.start()] + name[found.end() :])
    return None, ""


def _is_images(name: str) -> bool:
    return _IMAGES.fullmatch(name.lower()) is not None


def _is_container(name: str) -> bool:
    return _is_images(name) or _ANSWERS.fullmatch(name.lower()) is not None
