"""Images in one folder for each class: the practitioner's case."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from seasoning.data.class_names import Numbering, numbered
from seasoning.data.files import ImageFile, Tree
from seasoning.data.layout import layout_doubts, require_classes
from seasoning.data.listing import Listing, listed
from seasoning.errors import BadInput


__all__ = ["class_folders", "tree_listing"]

_ANYHOW = Numbering()
# Of the validation images of TinyImageNet, which lie in one folder: file, class and box of each, with tabs between.
_ANNOTATIONS, _ANNOTATED = "val_annotations.txt", "images"


def tree_listing(
    tree: Tree,
    numbering: Numbering = _ANYHOW,
    name: str | None = None,
    *,
    family: str = "",
    recorded: Sequence[str] | None = None,
    quiet: bool = False,
) -> Listing:
    """The images of a tree with a folder for each class, or with the annotations of TinyImageNet.

    Args:
        tree: What the folder holds.
        numbering: What decides which logit a folder stands for.
        name: Of the data set; by default the folder's.
        family: Of the sample ids, where other sets have files of the same names.
        recorded: All classes in their order, as noted when the folders were made.
        quiet: Whether to leave out the notes on the order of the classes, since another part of the set says them.

    Raises:
        BadInput: no classes, a class without images, folders that are no classes, or none of the model's classes.
    """
    tree = _sorted_into_classes(tree)
    known = (numbering.names, numbering.carried, recorded)
    settled = any(names is not None and set(tree.folders) <= set(names) for names in known)
    if not settled:
        require_classes(tree)
    by_class = class_folders(tree)
    class_names, notes = numbered(list(by_class), numbering, str(tree.root), recorded)
    labels = {name: label for label, name in enumerate(class_names)}
    pairs = [(file, labels[name]) for name in class_names if name in by_class for file in by_class[name]]
    files = [file for file, _ in pairs]
    bases = [str(PurePosixPath(family, file.name).with_suffix("")) for file in files]
    name = tree.root.resolve().name if name is None else name
    listing = listed(name, tree, files, [label for _, label in pairs], class_names, bases)
    notes = [] if quiet else notes
    doubts = [] if settled else layout_doubts(tree)
    return replace(listing, notes=(*notes, *listing.notes), doubts=(*doubts, *listing.doubts))


def class_folders(tree: Tree) -> dict[str, list[ImageFile]]:
    """The images below each class folder, all of which have some.

    Raises:
        BadInput: no folders, one without images, or a file in two of them.
    """
    by_class: dict[str, list[ImageFile]] = {name: [] for name in tree.folders}
    for file in tree.images():
        top, _, rest = file.name.partition("/")
        if rest:
            by_class.setdefault(top, []).append(file)
    for one, other in tree.same:
        if one.split("/")[0] != other.split("/")[0]:
            raise BadInput(
                f"{tree.root}: {one} and {other} are the same on the disk, in two folders of classes: an image has one "
                "class here; remove one of them"
            )
    empty = sorted(name for name, files in by_class.items() if not files)
    if not by_class or empty:
        lacking = f"its folder {empty[0]!r} has no images" if empty else "no folders in it"
        raise BadInput(
            f"{tree.root}: {lacking}; expected a folder for each class with images in it, as in {tree.root}/cat/1.png"
        )
    return by_class


def _sorted_into_classes(tree: Tree) -> Tree:
    """A tree whose images have their classes in annotations, as if they lay as those to train on; else as it is.

    Raises:
        BadInput: the annotations are something else, or name images that are not there.
    """
    notes = next((file for file in tree.files if file.name == _ANNOTATIONS), None)
    if notes is None or tree.folders != (_ANNOTATED,):
        return tree
    rows = [line.split("\t") for line in notes.read().decode("utf-8", "replace").splitlines() if line.strip()]
    classes = {f"{_ANNOTATED}/{row[0]}": row[1].strip() for row in rows if len(row) > 1}
    lacking = sorted(set(classes) - {file.name for file in tree.files})
    if not classes or len(classes) < len(rows) or lacking:
        wrong = f"names {lacking[0]}, which is not there" if lacking else "is not what it is in TinyImageNet"
        raise BadInput(
            f"{tree.root}: {_ANNOTATIONS} {wrong}: expected in each line an image in {_ANNOTATED} and its class, with "
            "a tab between; copy the folder again, or sort the images into a folder for each class"
        )

    def placed(file: ImageFile) -> ImageFile:
        # What has no class is left right below the root, where it is counted.
        folder = f"{classes[file.name]}/{_ANNOTATED}/" if file.name in classes else ""
        return file._replace(name=f"{folder}{PurePosixPath(file.name).name}")

    files = tuple(sorted(map(placed, tree.files)))
    return tree._replace(files=files, folders=tuple(sorted(set(classes.values()))))
