"""A folder of images for each class, as it lies on disk."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seasoning.data import load_source
from seasoning.data.open import ReadOptions, open_data
from seasoning.errors import BadInput


def save(path: Path, value: int, size: tuple[int, int] = (5, 4)) -> None:
    """An image of one grey with a red pixel in its first corner; `size` is width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), value, dtype=np.uint8)
    pixels[0, 0] = (255, 0, 0)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for name, value in (("cat/1.png", 51), ("cat/2.png", 102), ("ant/10.png", 0), ("dog/a/deep.png", 255)):
        save(root / name, value)
    return root


def test_classes_are_the_folders_in_the_order_of_their_characters(root: Path) -> None:
    samples = load_source(str(root))
    assert (samples.name, samples.classes, samples.x.dtype) == ("pets", 3, torch.uint8)
    assert tuple(samples.x.shape) == (4, 3, 4, 5)
    assert samples.y.tolist() == [0, 1, 1, 2]
    assert samples.x[:, 1, 2, 3].tolist() == [0, 51, 102, 255]
    assert samples.x[3, :, 0, 0].tolist() == [255, 0, 0]
    torch.testing.assert_close(next(iter(samples)).x[:, 1, 2, 3], torch.tensor([0.0, 0.2, 0.4, 1.0]))


def test_ids_survive_a_move_and_newcomers(root: Path, tmp_path: Path) -> None:
    before = load_source(str(root))
    moved = tmp_path / "elsewhere" / "pets"
    shutil.copytree(root, moved)
    save(moved / "bee/0.png", 7)
    after = load_source(str(moved))
    known = {sample: image for sample, image in zip(after.ids.tolist(), after.x, strict=True)}
    assert len(known) == 5
    for sample, image in zip(before.ids.tolist(), before.x, strict=True):
        assert torch.equal(known[sample], image)


def test_numbered_folders_are_classes_in_the_order_of_their_values(tmp_path: Path) -> None:
    for number in ("10", "9", "2", "1"):
        save(tmp_path / "digits" / number / "a.png", int(number))
    samples = load_source(str(tmp_path / "digits"))
    assert samples.y.tolist() == [0, 1, 2, 3]
    assert samples.x[:, 0, 2, 2].tolist() == [1, 2, 9, 10]


def test_images_of_every_kind_become_rgb_of_8_bits(root: Path) -> None:
    folder = root / "bee"
    folder.mkdir()
    Image.fromarray(np.full((4, 5), 51, dtype=np.uint8)).save(folder / "1grey.png")
    # 16 bits a pixel: 20000 / 65535 of white is 77.8 / 255, not the low or the highest byte.
    Image.fromarray(np.full((4, 5), 20_000, dtype=np.uint16)).save(folder / "2deep.png")
    palette = Image.fromarray(np.zeros((4, 5), dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30] * 256)
    palette.save(folder / "3palette.png", transparency=bytes([7] * 256))
    Image.fromarray(np.full((4, 5, 4), (0, 255, 255, 0), dtype=np.uint8), mode="CMYK").save(folder / "4cmyk.tif")
    Image.fromarray(np.full((4, 5, 4), (1, 2, 3, 0), dtype=np.uint8)).save(folder / "5clear.png")
    Image.fromarray(np.full((4, 5), True)).save(folder / "6bit.png")
    samples = load_source(str(root))
    found = samples.x[samples.y == 1][:, :, 2, 2].tolist()
    white = [255, 255, 255]
    assert found == [[51, 51, 51], [78, 78, 78], [10, 20, 30], [255, 0, 0], [1, 2, 3], white]


def test_hidden_folders_and_other_files_are_passed_over(root: Path) -> None:
    save(root / ".cache" / "1.png", 9)
    (root / "cat" / "notes.txt").write_text("lovely")
    assert len(load_source(str(root))) == 4


@pytest.mark.parametrize("fault", ["empty", "no images", "text", "cut", "size", "float"])
def test_what_is_wrong_is_named(root: Path, tmp_path: Path, fault: str) -> None:
    words = {
        "text": r"1 of its 4 images cannot be read:\n  cat/2\.png is no image",
        "cut": r"2\.png is no image, or damaged",
        "size": r"2\.png has 6 x 4 pixels",
        "float": r"floating-point",
    }
    if fault == "empty":
        root = tmp_path / "empty"
        root.mkdir()
    elif fault == "no images":
        (root / "eel").mkdir()
    elif fault == "text":
        (root / "cat" / "2.png").write_text("not an image")
    elif fault == "cut":
        whole = (root / "cat" / "2.png").read_bytes()
        (root / "cat" / "2.png").write_bytes(whole[: len(whole) // 2])
    elif fault == "float":
        Image.fromarray(np.full((4, 5), 0.5, dtype=np.float32)).save(root / "cat" / "2.tif")
    else:
        save(root / "cat" / "2.png", 3, size=(6, 4))
    with pytest.raises(BadInput, match=words.get(fault, "expected a folder for each class with images in it")):
        load_source(str(root))


def annotated(root: Path, text: str) -> Path:
    """Three images as TinyImageNet keeps those to validate on."""
    for number in range(3):
        save(root / "val" / "images" / f"val_{number}.JPEG", 100 * number)
    (root / "val" / "val_annotations.txt").write_text(text)
    return root / "val"


ROWS = "val_0.JPEG\tn02\t0\t0\t31\t31\nval_1.JPEG\tn01\t0\t0\t31\t31\n"


def test_annotations_of_tinyimagenet_say_the_classes(tmp_path: Path) -> None:
    root = annotated(tmp_path, ROWS + "val_2.JPEG\tn02\t1\t1\t2\t2\n")
    samples = load_source(str(root))
    assert samples.class_names == ("n01", "n02")
    assert {round(float(x[0, 1, 1]) / 100): int(y) for x, y in zip(samples.x, samples.y, strict=True)} == {
        0: 1,
        1: 0,
        2: 1,
    }
    # The same photographs sorted into folders have the same ids.
    for number, name in enumerate(("n02", "n01", "n02")):
        save(tmp_path / "sorted" / name / "images" / f"val_{number}.JPEG", 100 * number)
    again = load_source(str(tmp_path / "sorted"))
    assert (again.ids.tolist(), again.y.tolist()) == (samples.ids.tolist(), samples.y.tolist())


def test_an_image_without_an_annotation_is_counted(tmp_path: Path) -> None:
    (opened,) = open_data([str(annotated(tmp_path, ROWS))], ReadOptions())
    assert len(opened.ids) == 2
    assert "passed over: 1 image without a class, such as val_2.JPEG" in opened.notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROWS + "val_7.JPEG\tn01\n", r"names images/val_7\.JPEG, which is not there"),
        ("val_0.JPEG n02\n", "is not what it is in TinyImageNet: expected in each line an image in images"),
        ("", "is not what it is in TinyImageNet"),
    ],
)
def test_annotations_that_do_not_fit_are_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        load_source(str(annotated(tmp_path, text)))


def test_of_the_whole_of_tinyimagenet_the_splits_are_named(tmp_path: Path) -> None:
    annotated(tmp_path, ROWS)
    for name in ("n01", "n02"):
        save(tmp_path / "train" / name / "images" / "1.JPEG", 3)
    save(tmp_path / "test" / "images" / "test_1.JPEG", 3)
    with pytest.raises(BadInput, match=rf"give one of {tmp_path}/test, {tmp_path}/train, {tmp_path}/val\. Should"):
        load_source(str(tmp_path))
