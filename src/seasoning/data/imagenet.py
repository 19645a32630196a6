"""ImageNet's validation images, by folder or as the official archive, their reassessed labels, and sets made like it.

Classes and their order are those of timm, which are those of the usual checkpoints.
"""

import io
import json
import pkgutil
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from scipy.io import loadmat

from seasoning.data.files import ImageFile, Tree, read_tree
from seasoning.data.folder import class_folders
from seasoning.data.labels import LabelMap
from seasoning.data.listing import Listing, listed
from seasoning.errors import BadInput


__all__ = [
    "VALIDATION",
    "class_words",
    "flat_listing",
    "real_listing",
    "subset",
    "wnid_listing",
    "wnids",
]

VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})")
_LABEL_LISTS = ("val.txt", "val_labels.txt", "imagenet_2012_validation_synset_labels.txt", "synset_labels.txt")
_KAGGLE = (
    "LOC_val_solution.csv"  # an image and the boxes in it on each line, `ILSVRC2012_val_00000001,n01751748 1 2 3 4`
)
_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


@cache
def wnids() -> tuple[str, ...]:
    """The 1,000 classes by their WordNet ids, in the order of the logits."""
    return tuple(_shipped("imagenet_synsets.txt").split())


@cache
def class_words() -> dict[str, str]:
    """A word for each of the 1,000 classes."""
    lines = (line.split("\t") for line in _shipped("imagenet_synset_to_lemma.txt").splitlines())
    words = {wnid: lemmas.split(",")[0] for wnid, lemmas, *_ in lines}
    return {wnid: words[wnid] for wnid in wnids()}


@cache
def subset(letter: str) -> tuple[str, ...]:
    """The 200 classes of ImageNet-A (`"a"`) or -R (`"r"`), in the order of the 1,000."""
    return tuple(_shipped(f"imagenet_{letter}_synsets.txt").split())


def wnid_listing(tree: Tree, name: str, classes: Sequence[str] | None = None, *, family: str = "") -> Listing:
    """Images in folders named by WordNet ids.

    Args:
        tree: What the folder holds.
        name: Of the data set.
        classes: Those that the set is made of, where they are only some of the 1,000: the others are masked out.
        family: Of the sample ids, where other sets have files of the same names.

    Raises:
        BadInput: a folder without images, or one that is none of the classes.
    """
    by_class = class_folders(tree)
    known = wnids() if classes is None else tuple(classes)
    unmatched = sorted(set(by_class) - set(known))
    if unmatched:
        raise BadInput(
            f"{tree.root}: {len(unmatched)} folders are none of the {len(known)} classes of {name}: "
            f"{', '.join(unmatched[:20])}{' …' if len(unmatched) > 20 else ''}; expected WordNet ids such as {known[0]}"
        )
    labels = {wnid: label for label, wnid in enumerate(known)}
    pairs = [(file, labels[wnid]) for wnid in known if wnid in by_class for file in by_class[wnid]]
    files = [file for file, _ in pairs]
    listing = listed(
        name, tree, files, [label for _, label in pairs], known, [base_image(file, family) for file in files]
    )
    if classes is None:
        return listing
    position = {wnid: logit for logit, wnid in enumerate(wnids())}
    return replace(listing, label_map=LabelMap(len(wnids()), tuple((position[wnid],) for wnid in known)))


def flat_listing(tree: Tree, name: str) -> Listing:
    """The official validation images: `ILSVRC2012_val_00000001.JPEG` and so on, in a folder or in the official archive.

    Their labels come from a list beside them: `val.txt` (file and class number from 0 on each line), a list of
    WordNet ids in the order of the files, Kaggle's `LOC_val_solution.csv`, or the official development kit.

    Raises:
        BadInput: there is no list of labels, or it does not fit the images.
    """
    beside = tree.root.parent if tree.root.is_file() else tree.root
    inner = [beside / "ILSVRC2012_img_val.tar"] if not _validation_files(tree) else []
    files = _validation_files(tree) or [
        file for path in inner if path.is_file() for file in _validation_files(read_tree(path))
    ]
    if not files:
        raise BadInput(f"{tree.root}: no images named ILSVRC2012_val_00000001.JPEG and so on")
    labels = _flat_labels(beside, files)
    return listed(name, tree, files, labels, wnids(), [base_image(file, "") for file in files])


def real_listing(listing: Listing, real: Path | None) -> Listing:
    """The same images with the reassessed labels: several may be right, and images without any are left out.

    Args:
        listing: The validation images.
        real: The published list `real.json`; by default the copy that timm ships.

    Raises:
        BadInput: the list is damaged, or has no entry for an image.

    Reference: Beyer et al. 2020, *Are we done with ImageNet?*
    """
    answers = _real_labels(real)
    numbers = [_number(file) for file in listing.files]
    beyond = [file.name for file, number in zip(listing.files, numbers, strict=True) if not 0 < number <= len(answers)]
    if beyond:
        raise BadInput(f"{listing.name}: {beyond[0]} is none of the {len(answers)} images that ReaL labels")
    valid = [answers[number - 1] for number in numbers]
    rows = [row for row, labels in enumerate(valid) if labels]
    if not rows:
        raise BadInput(f"{listing.name}: none of the {len(listing)} images has a label")
    widest = max(len(valid[row]) for row in rows)
    columns = torch.tensor([valid[row] + [-1] * (widest - len(valid[row])) for row in rows])
    left_out = len(listing) - len(rows)
    note = f"{left_out} of {len(listing)} images have no label and are left out"
    return replace(listing.take(rows), y=columns[:, 0].clone(), valid=columns, notes=(*listing.notes, note))


def base_image(file: ImageFile, family: str) -> str:
    """What names the photograph: the validation image, in whatever set it is; else its path, behind a family."""
    found = VALIDATION.search(PurePosixPath(file.name).name)
    path = str(PurePosixPath(file.name).with_suffix(""))
    return found[0] if found else f"{family}/{path}" if family else path


def _shipped(file: str) -> str:
    # By way of the loader: importing timm.data takes seconds.
    content = pkgutil.get_data("timm", f"data/_info/{file}")
    if content is None:
        raise BadInput(f"timm has no {file}: install timm 1.0.9 or newer")
    return content.decode()


def _validation_files(tree: Tree) -> list[ImageFile]:
    return [image for image in tree.images() if "/" not in image.name and VALIDATION.match(image.name)]


def _number(file: ImageFile) -> int:
    found = VALIDATION.search(PurePosixPath(file.name).name)
    return int(found[1]) if found else 0


def _flat_labels(beside: Path, files: Sequence[ImageFile]) -> list[int]:
    for path in (beside / file for file in (*_LABEL_LISTS, _KAGGLE)):
        if path.is_file():
            lines = path.read_text().splitlines()
            if path.name == _KAGGLE:
                lines = [line.replace(",", " ") for line in lines if VALIDATION.match(line)]
            return _from_lines(path, lines, files)
    kits = [beside / _DEVKIT, *(beside / folder / "data" for folder in ("", "ILSVRC2012_devkit_t12"))]
    for kit in kits:
        if kit.is_file() or (kit / _TRUTH).is_file():
            return _from_kit(kit, files)
    raise BadInput(
        f"{beside}: the validation images have no list of labels beside them: expected one of "
        f"{', '.join((*_LABEL_LISTS, _KAGGLE, _DEVKIT))}, the last from the place where the images came from"
    )


def _from_lines(path: Path, lines: Sequence[str], files: Sequence[ImageFile]) -> list[int]:
    """Labels from lines of a WordNet id each, in the order of the images, or of a file and a class each."""
    rows = [line.split() for line in lines if line.strip()]
    positions = {wnid: label for label, wnid in enumerate(wnids())}
    try:
        if all(len(row) == 1 for row in rows):
            return [positions[rows[_number(file) - 1][0]] for file in files]
        named = {PurePosixPath(row[0]).stem: row[1] for row in rows}
        texts = [named[PurePosixPath(file.name).stem] for file in files]
        labels = [positions[text] if text in positions else int(text) for text in texts]
    except (KeyError, IndexError, ValueError) as error:
        raise BadInput(f"{path}: no class for an image, or none that ImageNet has ({error})") from error
    if not all(0 <= label < len(positions) for label in labels):
        raise BadInput(f"{path}: class numbers range over [{min(labels)}, {max(labels)}]: expected 0 to 999")
    return labels


def _from_kit(kit: Path, files: Sequence[ImageFile]) -> list[int]:
    """Labels from the official development kit, whose own class numbers are not in the order of the logits."""
    contents: dict[str, bytes] = {}
    if kit.is_file():
        with tarfile.open(kit) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in (_TRUTH, "meta.mat") else None
                if content is not None:
                    contents[name] = content.read()
    else:
        contents = {name: (kit / name).read_bytes() for name in (_TRUTH, "meta.mat") if (kit / name).is_file()}
    if len(contents) < 2:
        raise BadInput(f"{kit}: expected {_TRUTH} and meta.mat in it")
    meta: Any = io.BytesIO(contents["meta.mat"])
    synsets = loadmat(meta, squeeze_me=True)["synsets"]
    own: Mapping[int, str] = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    lines = [own.get(int(number), number) for number in contents[_TRUTH].decode().split()]
    return _from_lines(kit, lines, files)


def _real_labels(path: Path | None) -> list[list[int]]:
    text = _shipped("imagenet_real_labels.json") if path is None else path.read_text()
    try:
        answers = json.loads(text)
        good = all(isinstance(answer, list) and all(isinstance(label, int) for label in answer) for answer in answers)
    except (ValueError, TypeError):
        good = False
    if not good:
        raise BadInput(
            f"{path} is no list of the labels of ReaL, or damaged: expected a list of class numbers per image"
        )
    checked: list[list[int]] = answers
    return checked
