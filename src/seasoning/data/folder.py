"""Images in one folder for each class: the practitioner's case."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from seasoning.data.listing import ImageFile, Listing, Tree, listed
from seasoning.errors import BadInput


__all__ = ["class_folders", "ordered_classes", "tree_listing"]


def tree_listing(
    tree: Tree, class_names: Sequence[str] | None = None, name: str | None = None, *, family: str = ""
) -> Listing:
    """The images of a tree with a folder for each class.

    Args:
        tree: What the folder holds.
        class_names: The model's classes in the order of its logits; by default the folders are the classes.
        name: Of the data set; by default the folder's.
        family: Of the sample ids, where other sets have files of the same names.

    Raises:
        BadInput: no classes, a class without images, or folders that are none of the model's classes.
    """
    by_class = class_folders(tree)
    if class_names is None:
        class_names = ordered_classes(by_class)
    unmatched = sorted(set(by_class) - set(class_names))
    if unmatched:
        raise BadInput(
            f"{tree.root}: {len(unmatched)} folders are none of the model's {len(class_names)} classes: "
            f"{', '.join(unmatched[:20])}{' …' if len(unmatched) > 20 else ''}; "
            "rename them, or correct the list of classes"
        )
    labels = {each: label for label, each in enumerate(class_names)}
    pairs = [(place, labels[each]) for each in class_names if each in by_class for place in by_class[each]]
    places = [place for place, _ in pairs]
    bases = [str(PurePosixPath(family, place.name).with_suffix("")) for place in places]
    name = tree.root.resolve().name if name is None else name
    return listed(name, places, [label for _, label in pairs], class_names, bases)


def class_folders(tree: Tree) -> dict[str, list[ImageFile]]:
    """The images below each class folder, all of which have some.

    Raises:
        BadInput: no folders, or one without images.
    """
    by_class: dict[str, list[ImageFile]] = {name: [] for name in tree.folders}
    for place in tree.images():
        top, _, rest = place.name.partition("/")
        if rest:
            by_class.setdefault(top, []).append(place)
    empty = sorted(name for name, places in by_class.items() if not places)
    if not by_class or empty:
        lacking = f"its folder {empty[0]!r} has no images" if empty else "no folders in it"
        raise BadInput(
            f"{tree.root}: {lacking}; expected a folder for each class with images in it, as in {tree.root}/cat/1.png"
        )
    return by_class


def ordered_classes(names: Sequence[str] | dict[str, list[ImageFile]]) -> list[str]:
    """Class names in their order: by value where all are whole numbers (`"2"` before `"10"`), else by characters."""
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)
