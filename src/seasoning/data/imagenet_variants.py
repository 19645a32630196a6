"""Sets that share ImageNet's classes: V2, A, R, Sketch, and the conflict stimuli of shape and texture."""

import re
from dataclasses import replace
from pathlib import PurePosixPath

import torch

from seasoning.data.files import Tree
from seasoning.data.folder import class_folders
from seasoning.data.imagenet import subset, wnid_listing, wnids
from seasoning.data.labels import LabelMap
from seasoning.data.listing import Listing, listed
from seasoning.errors import BadInput


__all__ = ["COARSE", "conflict_listing", "is_stimulus", "masked_listing", "sketch_listing", "v2_listing"]

_STIMULUS = re.compile(r"([a-z]+)(\d+)-([a-z]+)(\d+)\.png")


def _runs(text: str) -> tuple[int, ...]:
    """Class numbers from runs such as `"8 10-16"`."""
    ends = [part.partition("-")[::2] for part in text.split()]
    return tuple(number for first, last in ends for number in range(int(first), int(last or first) + 1))


# The 16 coarse classes of Geirhos et al. 2019 and the ImageNet classes, by the index of their logit, that form each.
COARSE: dict[str, tuple[int, ...]] = {
    "airplane": _runs("404"),
    "bear": _runs("294-297"),
    "bicycle": _runs("444 671"),
    "bird": _runs("8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145"),
    "boat": _runs("472 554 625 814 914"),
    "bottle": _runs("440 720 737 898-899 901 907"),
    "car": _runs("436 511 817"),
    "cat": _runs("281-286"),
    "chair": _runs("423 559 765 857"),
    "clock": _runs("409 530 892"),
    "dog": _runs("152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268"),
    "elephant": _runs("385-386"),
    "keyboard": _runs("508 878"),
    "knife": _runs("499"),
    "oven": _runs("766"),
    "truck": _runs("555 569 656 675 717 734 864 867"),
}


def v2_listing(tree: Tree, name: str) -> Listing:
    """A variant of ImageNetV2, whose folders are numbered from 0 to 999: the class is the number's value.

    The three variants share photographs, whose file names they keep: so do the sample ids.

    Raises:
        BadInput: a folder is no such number, or has no images.

    Reference: Recht et al. 2019, *Do ImageNet classifiers generalize to ImageNet?*
    """
    by_class = class_folders(tree)
    wrong = sorted(name for name in by_class if not name.isdigit() or int(name) >= len(wnids()))
    if wrong:
        raise BadInput(f"{tree.root}: {', '.join(wrong[:20])}: expected folders named 0 to 999, one for each class")
    pairs = [(file, int(folder)) for folder in sorted(by_class, key=int) for file in by_class[folder]]
    files = [file for file, _ in pairs]
    bases = [f"imagenet-v2/{PurePosixPath(file.name).stem}" for file in files]
    return listed(name, tree, files, [label for _, label in pairs], wnids(), bases)


def masked_listing(tree: Tree, name: str, letter: str) -> Listing:
    """ImageNet-A (`"a"`) or -R (`"r"`): only the logits of their 200 classes count.

    References: Hendrycks et al. 2021, *Natural adversarial examples*; 2021, *The many faces of robustness*.
    """
    return wnid_listing(tree, name, subset(letter), family=f"imagenet-{letter}")


def sketch_listing(tree: Tree, name: str) -> Listing:
    """ImageNet-Sketch: all 1,000 classes.

    Reference: Wang et al. 2019, *Learning robust global representations by penalizing local predictive power*.
    """
    return wnid_listing(tree, name, family="imagenet-sketch")


def conflict_listing(tree: Tree, name: str) -> Listing:
    """Conflict stimuli: the shape of one thing with the texture of another, as their file names say.

    The label is the shape, of 16 coarse classes; the score of each is the mean of the softmax over its members.
    Images whose shape and texture agree are kept.

    Raises:
        BadInput: files that are not named like `cat7-elephant3.png`.

    Reference: Geirhos et al. 2019, *ImageNet-trained CNNs are biased towards texture*.
    """
    classes = list(COARSE)
    files = tree.images()
    shapes, textures, strange = [], [], []
    for file in files:
        found = _shape_and_texture(PurePosixPath(file.name).name)
        if found is None:
            strange.append(file.name)
        else:
            shapes.append(classes.index(found[0]))
            textures.append(classes.index(found[1]))
    if strange or not files:
        raise BadInput(
            f"{tree.root}: {strange[0] if strange else 'no images'}: expected files such as cat7-elephant3.png, shape "
            f"and texture out of {', '.join(classes)}"
        )
    bases = [f"conflict-stimuli/{PurePosixPath(file.name).stem}" for file in files]
    listing = listed(name, tree, files, shapes, classes, bases)
    return replace(
        listing,
        as_is=True,
        texture=torch.tensor(textures),
        label_map=LabelMap(len(wnids()), tuple(COARSE.values())),
    )


def is_stimulus(file: str) -> bool:
    """Whether a file is named like a conflict stimulus."""
    return _shape_and_texture(file) is not None


def _shape_and_texture(file: str) -> tuple[str, str] | None:
    found = _STIMULUS.fullmatch(file.lower())
    return (found[1], found[3]) if found and found[1] in COARSE and found[3] in COARSE else None
