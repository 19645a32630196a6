"""What a folder is taken for: one's own unless files are named or counted as published."""

import tarfile
from pathlib import Path

import pytest

from seasoning.data.check import check_data
from seasoning.data.imagenet import subset, wnids
from seasoning.data.open import ReadOptions, open_data
from seasoning.data.recognise import find_set
from seasoning.errors import BadInput
from tests.data.test_cifar import TEN, python10
from tests.data.trees import VAL, save_coded


def touched(root: Path, *files: str) -> Path:
    """Files of which only the names matter."""
    for folder in {(root / file).parent for file in files}:
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (root / file).touch()
    return root


def packed(path: Path, *files: str) -> Path:
    """Many such files in an archive, which is quicker."""
    with tarfile.open(path, "w") as archive:
        for file in files:
            archive.addfile(tarfile.TarInfo(file))
    return path


@pytest.mark.parametrize("names", [TEN[:8], TEN, TEN[:6]])
def test_photographs_of_the_classes_of_cifar_are_one_s_own(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        save_coded(tmp_path / "photos" / name / "1.png", 5, side=40)
    found = find_set(tmp_path / "photos")
    listing = found.parts[0].open()
    assert (found.kind, found.parts[0].name, listing.class_names) == ("folder", "photos", tuple(sorted(names)))
    assert found.remark == (
        f"its folders are called like classes of CIFAR-10: cifar10={tmp_path / 'photos'} reads them as those"
    )
    (opened,) = open_data([str(tmp_path / "photos")], ReadOptions())
    assert (opened.outputs, opened.notes[0]) == (len(names), f"taken for images of your own (folder), {found.remark}")
    # Said so, they are numbered as CIFAR's.
    (opened,) = open_data([f"cifar10={tmp_path / 'photos'}"], ReadOptions(partial=True))
    assert (opened.outputs, opened.remark) == (10, "")


@pytest.mark.parametrize(("each", "kind"), [(1000, "cifar10"), (5000, "cifar10"), (999, "folder"), (1001, "folder")])
def test_folders_of_cifar_are_known_by_their_count(tmp_path: Path, each: int, kind: str) -> None:
    path = packed(tmp_path / "ten.tar", *(f"{name}/{number}.png" for name in TEN for number in range(each)))
    assert find_set(path).kind == kind


def test_splits_of_cifar_are_known_by_their_count(tmp_path: Path) -> None:
    root = touched(tmp_path / "ten", *(f"test/{name}/{number}.png" for name in TEN for number in range(1000)))
    assert find_set(root).kind == "cifar10"
    touched(root, *(f"train/{name}/{number}.png" for name in TEN for number in range(9)))
    with pytest.raises(BadInput, match=r"ten is no data set, it lies above .*test \(CIFAR-10\)"):
        find_set(root)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ([f"{number}/1.jpg" for number in range(102)], "folder"),
        ([f"{number}/1.jpg" for number in range(1000)], "folder"),
        ([f"{number}/{image}.jpeg" for number in range(1000) for image in range(10)], "imagenet-v2"),
        ([f"{wnid}/{wnid}_{number}.JPEG" for wnid in wnids()[:10] for number in range(3)], "folder"),
        ([f"{wnid}/{VAL.format(1)}" for wnid in wnids()[:10]], "imagenet"),
        ([f"{wnid}/{number}.JPEG" for wnid in wnids() for number in range(50)], "imagenet"),
        ([f"{wnid}/mine.JPEG" for wnid in wnids()], "folder"),
        ([f"{wnid}/mine.JPEG" for wnid in subset("r")], "folder"),
        ([f"{wnid}/art_1.jpg" for wnid in subset("r")[:3]], "imagenet-r"),
        ([f"{wnid}/sketch_1.jpg" for wnid in wnids()[:3]], "imagenet-sketch"),
        (["left/scan12-flair3.png", "right/scan1-flair4.png"], "folder"),
        (["cat/cat12-dog3.png"], "conflict-stimuli"),
        (["fog/1/n01440764/mine.png"], "folder-c"),
        ([f"fog/1/n01440764/{VAL.format(1)}"], "imagenet-c"),
        (["fog/day.png", "snow/day.png"], "folder"),
    ],
    ids=lambda each: each if isinstance(each, str) else each[-1],
)
def test_kinds_by_content(tmp_path: Path, files: list[str], kind: str) -> None:
    found = find_set(packed(tmp_path / "set.tar", *files) if len(files) > 5000 else touched(tmp_path / "set", *files))
    assert found.kind == kind
    said = "folder=" in found.remark
    assert said == (kind not in ("folder", "folder-c")), found.remark


def test_a_set_of_wordnet_ids_says_how_it_may_be_read(tmp_path: Path) -> None:
    root = touched(tmp_path / "ten", *(f"{wnid}/mine.JPEG" for wnid in wnids()[10:20]))
    found = find_set(root)
    assert found.parts[0].open().class_names == wnids()[10:20]
    assert found.remark.endswith(f"classes of ImageNet, validation: imagenet={root} reads them as those")


@pytest.mark.parametrize("kind", ["folder", None])
def test_what_was_recognised_is_said_with_the_way_out(tmp_path: Path, kind: str | None) -> None:
    for number in (1, 2):
        save_coded(tmp_path / "val" / wnids()[number] / VAL.format(number), 5)
    checked = check_data(tmp_path / "val", kind)
    (opened,) = open_data([f"{kind}={tmp_path / 'val'}" if kind else str(tmp_path / "val")], ReadOptions(partial=True))
    if kind is None:
        why = "by the names and the number of its files"
        remark = f"ImageNet, validation (imagenet), {why}: folder={tmp_path / 'val'} reads it as images of your own"
        assert checked.found[0] == f"{tmp_path / 'val'} looks like {remark}"
        assert opened.notes[0] == f"taken for {remark}"
    else:
        assert checked.found[0] == f"{tmp_path / 'val'} as images of your own (folder)"
        assert opened.notes == []


def test_a_folder_above_several_published_sets_is_none(tmp_path: Path) -> None:
    save_coded(tmp_path / "all" / "imagenet-a" / "n01498041" / "0.1_x _ x_0.9.jpg", 5)
    save_coded(tmp_path / "all" / "imagenet-r" / "n01443537" / "art_0.jpg", 5)
    save_coded(tmp_path / "all" / "pets" / "cat" / "1.png", 5)
    with pytest.raises(
        BadInput, match=r"lies above .*imagenet-a \(ImageNet-A\), .*imagenet-r \(ImageNet-R\): give the"
    ):
        find_set(tmp_path / "all")
    python10(tmp_path / "two" / "cifar-10-batches-py")
    save_coded(tmp_path / "two" / "own" / "cat" / "1.png", 5)
    with pytest.raises(BadInput, match=r"lies above .*cifar-10-batches-py \(CIFAR-10\)"):
        find_set(tmp_path / "two")
