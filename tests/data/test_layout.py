"""Folders that are no classes are refused, with those to choose from; classes are not."""

import tarfile
from pathlib import Path

import pytest

from seasoning.data import load_source
from seasoning.data.check import check_data
from seasoning.data.recognise import find_set
from seasoning.errors import BadInput
from tests.data.trees import save_coded


def made(root: Path, *files: str) -> Path:
    for file in files:
        save_coded(root / file, 5)
    return root


def classes_in(*folders: str) -> list[str]:
    return [f"{folder}/{name}/1.png" for folder in folders for name in ("cat", "dog")]


REFUSED = [
    (classes_in("train", "val"), ["train", "val"]),
    (classes_in("train", "test", "val"), ["test", "train", "val"]),
    (classes_in("training", "validation"), ["training", "validation"]),
    (classes_in("Train", "Test"), ["Test", "Train"]),
    (classes_in("TRAIN", "VALID"), ["TRAIN", "VALID"]),
    (classes_in("training_set", "test_set"), ["test_set", "training_set"]),
    (classes_in("trainSet", "testSet"), ["testSet", "trainSet"]),
    (classes_in("train2017", "val2017"), ["train2017", "val2017"]),
    (classes_in("Training Images", "Test Images"), ["Test Images", "Training Images"]),
    (classes_in("train", "dev", "eval"), ["dev", "eval", "train"]),
    (classes_in("train1", "train2"), ["train1", "train2"]),
    (classes_in("seg_train/seg_train", "seg_test/seg_test"), ["seg_test/seg_test", "seg_train/seg_train"]),
    ([*classes_in("asl_train", "asl_test"), "asl_pred/1.png"], ["asl_test", "asl_train"]),
    (classes_in("images/train", "images/val"), ["images/train", "images/val"]),
    (classes_in("train/images", "val/images"), ["train/images", "val/images"]),
    (classes_in("pets/train", "pets/val"), ["pets/train", "pets/val"]),
    (["train/1.png", "test/1.png"], ["test", "train"]),
    (["train/1.png"], ["train"]),
    (["images/train/1.png", "images/val/1.png", "labels/train/1.png"], ["images/train", "images/val"]),
    (["images/1.png", "labels/1.png"], ["images"]),
    (["Images/1.png", "Masks/1.png"], ["Images"]),
    (["JPEGImages/1.jpg", "SegmentationClass/1.png"], ["JPEGImages"]),
    (classes_in("pets"), ["pets"]),
    (classes_in("data/pets/all"), ["data/pets/all"]),
    (["images/1.png"], []),
]


@pytest.mark.parametrize(("files", "choices"), REFUSED, ids=lambda each: " ".join(each))
def test_folders_that_are_no_classes(tmp_path: Path, files: list[str], choices: list[str]) -> None:
    root = made(tmp_path / "set", *files)
    with pytest.raises(BadInput, match=r"\. Should these be classes, name the model's classes by --classes") as error:
        load_source(str(root))
    advice = str(error.value).splitlines()[0].split(". Should these")[0].rpartition(": ")[2]
    if choices:
        assert advice.removeprefix("give ").removeprefix("one of ").split(", ") == [
            str(root / each) for each in choices
        ]
    else:
        assert advice.startswith("expected a folder for each class")
    # What is advised can be read, where there are classes in it.
    for each in choices:
        if any(file.startswith(f"{each}/cat/") for file in files):
            assert len(load_source(str(root / each))) == 2
    checked = check_data(root)
    assert "Should these be classes" in checked.problems[0]


CLASSES = [
    ["bus/1.png", "car/1.png", "train/1.png"],
    ["train/1.png", "tram/1.png"],
    ["steam_train/1.png", "bullet_train/1.png"],
    ["bullet_train/1.png", "test_tube/1.png"],
    ["train_station/1.png", "bus_station/1.png", "testing_room/1.png", "x/1.png"],
    ["train/1.png", "val/1.png", "cat/1.png", "dog/1.png", "eel/1.png"],
    ["mask/1.png", "no_mask/1.png"],
    ["image/1.png", "text/1.png"],
    ["validity/1.png", "contest/1.png"],
    ["dog/a/1.png", "cat/2.png"],
    ["dog/a/deep/1.png"],
    ["dog/2019/1.png", "dog/2020/1.png", "cat/2019/1.png"],
]


@pytest.mark.parametrize("files", CLASSES, ids=" ".join)
def test_classes_that_are_called_alike(tmp_path: Path, files: list[str]) -> None:
    samples = load_source(str(made(tmp_path / "set", *files)))
    assert samples.classes == len({file.split("/")[0] for file in files})
    assert len(samples) == len(files)


def test_an_archive_of_splits_is_refused_too(tmp_path: Path) -> None:
    root = made(tmp_path / "pets", *classes_in("train", "val"))
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(root, arcname="pets")
    with pytest.raises(
        BadInput, match="splits of a data set, not classes: unpack the archive and give one of train, val"
    ):
        load_source(str(tmp_path / "pets.tar"))


def test_splits_that_the_model_tells_apart_are_classes(tmp_path: Path) -> None:
    root = made(tmp_path / "set", "train/1.png", "test/1.png")
    (part,) = find_set(root, class_names=("train", "test")).parts
    assert sorted(part.open().y.tolist()) == [0, 1]
    with pytest.raises(BadInput, match="not classes"):
        find_set(root, class_names=("cat", "dog")).parts[0].open()


@pytest.mark.parametrize(
    ("files", "doubt"),
    [
        (classes_in("photo", "sketch"), "holds the same folders cat, dog: if these are the classes, give one of"),
        (["cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/test/1.png"], "holds the splits test, train"),
        (["n01/images/1.png", "n02/images/1.png"], None),
        ([*classes_in("photo"), "sketch/1.png"], None),
    ],
)
def test_what_is_doubtful_is_a_note_and_a_problem(tmp_path: Path, files: list[str], doubt: str | None) -> None:
    root = made(tmp_path / "set", *files)
    doubts = find_set(root).parts[0].open().doubts
    assert [doubt is not None and doubt in each for each in doubts] == ([True] if doubt else [])
    assert check_data(root).problems[:1] == [f"set: {each}" for each in doubts]


def test_one_class_alone_is_suspect(tmp_path: Path) -> None:
    root = made(tmp_path / "set", "cat/1.png", "cat/2.png")
    assert check_data(root).problems[0] == (
        "set: one class alone, 'cat': is this the folder of a class, or does it lie above those of classes?"
    )
    made(root, "dog/1.png")
    assert check_data(root).problems == []
