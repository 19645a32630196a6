"""CIFAR in each of its forms, on a few made images; labels are typed by hand."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from seasoning.commands.data import training_images
from seasoning.data.listing import Listing
from seasoning.data.reading import read_samples
from seasoning.data.recognise import find_set, shortfall
from seasoning.data.sources import load_source
from seasoning.errors import BadInput
from tests.data.trees import save_coded


TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def rows(count: int, first: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Rows of 3,072 values; the first red value counts on, the last blue one is 200."""
    pixels = np.zeros((count, 3072), dtype=np.uint8)
    pixels[:, 0] = np.arange(first, first + count)
    pixels[:, -1] = 200
    return pixels


def python10(folder: Path) -> None:
    folder.mkdir(parents=True)
    batches = {f"data_batch_{number}": [number, 9] for number in range(1, 6)} | {"test_batch": [3, 8, 0]}
    for place, (name, labels) in enumerate(batches.items()):
        content = {b"labels": labels, b"data": rows(len(labels), 10 * place), b"filenames": [b"a.png"] * len(labels)}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [each.encode() for each in TEN]}, protocol=2))
    (folder / "readme.html").write_text("<html>")


def binary10(folder: Path) -> None:
    folder.mkdir(parents=True)
    for place in range(5):
        labels = np.array([[place + 1], [9]], dtype=np.uint8)
        (folder / f"data_batch_{place + 1}.bin").write_bytes(np.hstack([labels, rows(2, 10 * place)]).tobytes())
    (folder / "test_batch.bin").write_bytes(
        np.hstack([np.array([[3], [8], [0]], dtype=np.uint8), rows(3, 50)]).tobytes()
    )
    (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n")


def python100(folder: Path) -> None:
    folder.mkdir(parents=True)
    names = [f"thing{number}".encode() for number in range(100)]
    for name, labels in (("train", [1, 2]), ("test", [99, 0, 50])):
        content = {b"fine_labels": labels, b"coarse_labels": [7] * len(labels), b"data": rows(len(labels), 50)}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names, b"coarse_label_names": []}, protocol=2))


def binary100(folder: Path) -> None:
    folder.mkdir(parents=True)
    # Coarse class first: one that would be wrong.
    for name, labels in (("train", [[7, 1], [7, 2]]), ("test", [[7, 99], [7, 0], [7, 50]])):
        (folder / f"{name}.bin").write_bytes(
            np.hstack([np.array(labels, dtype=np.uint8), rows(len(labels), 50)]).tobytes()
        )
    (folder / "fine_label_names.txt").write_text("\n".join(f"thing{number}" for number in range(100)))


FORMS = {
    "cifar-10-batches-py": (python10, "cifar10", [3, 8, 0]),
    "cifar-10-batches-bin": (binary10, "cifar10", [3, 8, 0]),
    "cifar-100-python": (python100, "cifar100", [99, 0, 50]),
    "cifar-100-binary": (binary100, "cifar100", [99, 0, 50]),
}


def opened(path: Path, split: str = "test", kind: str | None = None) -> Listing:
    (part,) = find_set(path, kind, split=split).parts
    return part.open()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", ["folder", "parent", "archive"])
def test_batches(tmp_path: Path, form: str, packed: str) -> None:
    make, kind, labels = FORMS[form]
    make(tmp_path / "here" / form)
    path = tmp_path / "here" / form if packed == "folder" else tmp_path / "here"
    if packed == "archive":
        path = tmp_path / f"{form}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "here" / form, arcname=form)
    found = find_set(path)
    assert found.kind == kind
    listing = opened(path)
    samples = read_samples(listing)
    assert (samples.name, samples.y.tolist()) == (f"{kind}/test", labels)
    assert tuple(samples.x.shape) == (3, 3, 32, 32)
    assert samples.x[:, 0, 0, 0].tolist() == [50, 51, 52]
    assert samples.x[:, 2, 31, 31].tolist() == [200] * 3
    assert len(samples.ids.unique()) == 3
    assert shortfall(listing, kind) is not None


def test_training_takes_the_rows_to_train_on(tmp_path: Path) -> None:
    python10(tmp_path / "py")
    trained, measured = training_images(str(tmp_path / "py"), None), load_source(str(tmp_path / "py"))
    assert (trained.name, trained.y.tolist()) == ("cifar10/train", [1, 9, 2, 9, 3, 9, 4, 9, 5, 9])
    assert (measured.name, measured.y.tolist()) == ("cifar10/test", [3, 8, 0])
    assert not set(trained.ids.tolist()) & set(measured.ids.tolist())


def test_both_forms_are_the_same_samples(tmp_path: Path) -> None:
    python10(tmp_path / "py")
    binary10(tmp_path / "bin")
    for split, count in (("train", 10), ("test", 3)):
        one, other = (read_samples(opened(tmp_path / each, split)) for each in ("py", "bin"))
        assert len(one) == count
        assert one.fingerprint() == other.fingerprint()
    assert opened(tmp_path / "py", "train").y.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]


def test_image_folders_keep_the_numbers_of_the_ten_classes(tmp_path: Path) -> None:
    # Two classes are missing: the others must not move up.
    for name in set(TEN) - {"airplane", "cat"}:
        save_coded(tmp_path / "images" / name / "0001.png", 5, side=32)
    assert sorted(opened(tmp_path / "images", kind="cifar10").y.tolist()) == [1, 2, 4, 5, 6, 7, 8, 9]


def test_splits_of_image_folders(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("test", 1)):
        for name in TEN:
            for number in range(count):
                save_coded(tmp_path / split / name / f"{number}.png", 5, side=32)
    parts = {split: opened(tmp_path, split, "cifar10") for split in ("train", "test")}
    assert [len(part) for part in parts.values()] == [20, 10]
    train, test = (set(part.ids.tolist()) for part in parts.values())
    # `train/cat/0` and `test/cat/0` are two photographs.
    assert not train & test


def test_code_in_a_batch_is_not_run(tmp_path: Path) -> None:
    python10(tmp_path / "py")

    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    (tmp_path / "py" / "test_batch").write_bytes(pickle.dumps({b"labels": Harmful()}))
    with pytest.raises(BadInput, match=r"test_batch is no batch of CIFAR, or damaged \(it asks for builtins.exec"):
        opened(tmp_path / "py")
    assert not (tmp_path / "ran").exists()


def test_missing_and_damaged_batches_are_named(tmp_path: Path) -> None:
    python10(tmp_path / "py")
    (tmp_path / "py" / "data_batch_3").unlink()
    with pytest.raises(BadInput, match="the python batches of cifar10 lack data_batch_3: unpack them again"):
        opened(tmp_path / "py", "train")
    binary10(tmp_path / "bin")
    whole = (tmp_path / "bin" / "test_batch.bin").read_bytes()
    (tmp_path / "bin" / "test_batch.bin").write_bytes(whole[:-1])
    with pytest.raises(BadInput, match=r"test_batch\.bin has 9218 bytes, no multiple of 3073: it is cut off"):
        opened(tmp_path / "bin")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(tmp_path / "bin", arcname="bin")
    (tmp_path / "cut.tar.gz").write_bytes(content.getvalue()[:-40])
    with pytest.raises(BadInput, match=r"cut\.tar\.gz is no archive, or damaged"):
        opened(tmp_path / "cut.tar.gz")


def cifar_c(root: Path, labels: int) -> None:
    root.mkdir()
    images = np.zeros((15, 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(15)
    np.save(root / "fog.npy", images)
    np.save(root / "speckle_noise.npy", images)
    np.save(root / "labels.npy", np.array(([3, 8, 0] * 5)[:labels], dtype=np.uint8))


@pytest.mark.parametrize("labels", [3, 15])
def test_cifar10_c_holds_the_test_rows_five_times(tmp_path: Path, labels: int) -> None:
    cifar_c(tmp_path / "c", labels)
    found = find_set(tmp_path / "c")
    assert found.kind == "cifar10-c"
    # Of the further corruptions none counts.
    assert [part.name for part in found.parts] == [f"cifar10-c/fog/{severity}" for severity in range(1, 6)]
    fourth = read_samples(found.parts[3].open())
    assert fourth.x[:, 0, 0, 0].tolist() == [9, 10, 11]
    assert fourth.y.tolist() == [3, 8, 0]
    python10(tmp_path / "py")
    assert torch.equal(fourth.ids, opened(tmp_path / "py").ids)


def test_cifar10_c_of_other_shapes_is_refused(tmp_path: Path) -> None:
    cifar_c(tmp_path / "c", 4)
    with pytest.raises(BadInput, match="15 images and 4 labels: expected as many, or a fifth"):
        find_set(tmp_path / "c").parts[0].open()
    (tmp_path / "c" / "labels.npy").unlink()
    with pytest.raises(BadInput, match=r"fog\.npy: it or labels\.npy is missing or damaged"):
        find_set(tmp_path / "c").parts[0].open()
