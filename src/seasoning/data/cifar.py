"""CIFAR-10 and CIFAR-100 in each of their forms: python or binary batches, image folders, archives of any of them.

Reference: Krizhevsky 2009, *Learning multiple layers of features from tiny images*.
"""

import io
import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seasoning.data.class_names import Numbering
from seasoning.data.files import ImageFile, Tree
from seasoning.data.folder import tree_listing
from seasoning.data.listing import Listing, stable_id
from seasoning.errors import BadInput


__all__ = ["CIFAR10", "array_listing", "cifar_form", "cifar_listing", "row_ids"]

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SIDE = 32
_VALUES = 3 * _SIDE * _SIDE
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

# File that tells the form apart -> data set, form, files of each split, file of the class names and its key.
_FORMS: dict[str, tuple[str, str, dict[str, tuple[str, ...]], str, str]] = {
    "test_batch": ("cifar10", "python", {"train": _BATCHES, "test": ("test_batch",)}, "batches.meta", "label_names"),
    "test_batch.bin": (
        "cifar10",
        "binary",
        {"train": tuple(f"{batch}.bin" for batch in _BATCHES), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        "",
    ),
    "test": ("cifar100", "python", {"train": ("train",), "test": ("test",)}, "meta", "fine_label_names"),
    "test.bin": ("cifar100", "binary", {"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt", ""),
}


def cifar_form(tree: Tree) -> str | None:
    """The file by which batches are known, such as `"test_batch"`; `None` where there are none."""
    names = {file.name for file in tree.files}
    for mark, (_, _, splits, meta, _) in _FORMS.items():
        # One of them may be missing: that is for the reader to say.
        files = {meta, *(file for split in splits.values() for file in split)}
        if meta in names and files & (names - {meta}):
            return mark
    return None


def cifar_listing(tree: Tree, split: str) -> Listing:
    """One split of CIFAR-10 or CIFAR-100.

    Sample ids derive from the row of the batches, `cifar10/test/17`, so those of CIFAR-10-C are the same. Of an image
    folder, which has lost the rows, they derive from the path, and where it is parted from the split.

    Args:
        tree: Of a folder with batches, or with a folder for each class (in `train` and `test`, or of one split alone).
        split: `"train"` or `"test"`.

    Raises:
        BadInput: files are missing or damaged.
    """
    mark = cifar_form(tree)
    if mark is None:
        return _from_images(tree, split)
    data_set, form, splits, meta, key = _FORMS[mark]
    files = {file.name: file for file in tree.files}
    missing = [name for name in (*splits[split], meta) if name not in files]
    if missing:
        raise BadInput(f"{tree.root}: the {form} batches of {data_set} lack {', '.join(missing)}: unpack them again")
    parts = [_python(files[name]) if form == "python" else _binary(files[name], data_set) for name in splits[split]]
    pixels = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    names = files[meta].read().decode().split() if form == "binary" else _unpickled(files[meta])[key]
    return array_listing(f"{data_set}/{split}", data_set, split, pixels.reshape(-1, 3, _SIDE, _SIDE), labels, names)


def array_listing(
    name: str, data_set: str, split: str, pixels: NDArray[np.uint8], labels: NDArray[Any], class_names: list[str]
) -> Listing:
    """Images `(N, 3, H, W)` of an array, in the rows of a split of CIFAR."""
    labels = labels.astype(np.int64)
    if not (len(labels) == len(pixels) and labels.min() >= 0 and labels.max() < len(class_names)):
        raise BadInput(
            f"{name}: {len(pixels)} images and {len(labels)} labels of {len(class_names)} classes do not fit"
        )
    ids = row_ids(data_set, split, len(labels))
    return Listing(name, ids, torch.from_numpy(labels), tuple(class_names), pixels=torch.from_numpy(pixels), as_is=True)


def row_ids(data_set: str, split: str, count: int) -> torch.Tensor:
    """Ids of the rows of a split, the base images of what was made of it."""
    return torch.tensor([stable_id(f"{data_set}/{split}/{row}") for row in range(count)])


def _from_images(tree: Tree, split: str) -> Listing:
    parted = bool({"train", "test"} & set(tree.folders))
    if parted:
        below = [file._replace(name=file.name[len(split) + 1 :]) for file in tree.files]
        files = tuple(name for name, file in zip(below, tree.files, strict=True) if file.name.startswith(f"{split}/"))
        folders = tuple(sorted({file.name.split("/", 1)[0] for file in files}))
        tree = tree._replace(root=tree.root / split, folders=folders, files=files)
    ten = set(tree.folders) <= set(CIFAR10)
    data_set = "cifar10" if ten else "cifar100"
    name = f"{data_set}/{split}" if parted else data_set
    numbering = Numbering(CIFAR10 if ten else None)
    return replace(tree_listing(tree, numbering, name, family=name if parted else ""), as_is=True)


def _python(file: ImageFile) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = _unpickled(file)
    labels = batch.get("labels", batch.get("fine_labels"))
    pixels = batch.get("data")
    if labels is None or not isinstance(pixels, np.ndarray) or pixels.shape != (len(labels), _VALUES):
        raise BadInput(f"{file.name} is no batch of CIFAR: expected rows of {_VALUES} values, and their labels")
    return pixels.astype(np.uint8, copy=False), np.array(labels, dtype=np.int64)


def _binary(file: ImageFile, data_set: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = 1 if data_set == "cifar10" else 2  # CIFAR-100: the coarse one first
    content = np.frombuffer(file.read(), dtype=np.uint8)
    if len(content) == 0 or len(content) % (labels + _VALUES):
        row = labels + _VALUES
        raise BadInput(f"{file.name} has {len(content)} bytes, no multiple of {row}: it is cut off, copy it again")
    rows = content.reshape(-1, labels + _VALUES)
    return rows[:, labels:].copy(), rows[:, labels - 1].astype(np.int64)


class _Plain(pickle.Unpickler):
    """Reads lists, numbers, texts and arrays, and nothing that could run code."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of CIFAR holds")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickled(file: ImageFile) -> Mapping[str, Any]:
    try:
        content = _Plain(io.BytesIO(file.read()), encoding="bytes").load()
        return {_text(key): _text(value) for key, value in content.items()}
    except Exception as error:
        # What damaged bytes make of the reader is not to be foretold.
        raise BadInput(f"{file.name} is no batch of CIFAR, or damaged ({error}): unpack it again") from error


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return (
        [_text(item) for item in value]
        if isinstance(value, list) and value[:1] and isinstance(value[0], bytes)
        else value
    )
