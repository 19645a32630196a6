"""`check_data` and the contact sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seasoning.data.check import check_data
from seasoning.data.contact_sheet import Tile, contact_sheet, save_sheet
from seasoning.data.corruptions.apply import CORRUPTIONS
from seasoning.data.imagenet_variants import COARSE
from seasoning.errors import BadInput
from tests.data.test_cifar import TEN
from tests.data.trees import save_coded, stack


@pytest.fixture
def stimuli(tmp_path: Path) -> Path:
    """All 1,280 conflict stimuli, in small."""
    root = tmp_path / "stimuli"
    for shape in COARSE:
        for number in range(80):
            save_coded(root / shape / f"{shape}{number}-{list(COARSE)[number % 16]}{number}.png", 5)
    return root


def test_a_complete_set(stimuli: Path) -> None:
    checked = check_data(stimuli)
    assert checked.problems == []
    assert checked.kind == "conflict-stimuli"
    assert checked.found[1:] == [
        "1,280 images in 16 classes, of 1,000 that the model tells apart, as published",
        "1,280 of 1,280 images can be read",
    ]
    assert len(checked.tiles) == 40
    assert checked.tiles[0].lines[:2] == ("airplane", "texture airplane")


def test_a_damaged_set(stimuli: Path) -> None:
    (stimuli / "cat" / "cat3-bird3.png").unlink()
    (stimuli / "dog" / "dog5-bottle5.png").write_bytes(b"")
    checked = check_data(stimuli)
    assert checked.problems[0] == "conflict-stimuli: 1,279 of 1,280 images; by class: cat 79 of 80"
    assert checked.problems[1].startswith("conflict-stimuli: 1 images cannot be read:\n    dog/dog5-bottle5.png is no")
    assert checked.problems[2].startswith("expected layout: files such as cat7-elephant3.png")
    assert "texture-vs-shape" in checked.problems[3]
    quick = check_data(stimuli, decoded=False)
    assert [each for each in quick.problems if "cannot be read" in each] == []


def test_missing_subsets_of_a_c_version_are_named(tmp_path: Path) -> None:
    for corruption in CORRUPTIONS[:14]:
        for severity in range(1, 6):
            if (corruption, severity) != ("fog", 3):
                save_coded(tmp_path / "c" / corruption / str(severity) / "cat" / "1.png", 5)
    checked = check_data(tmp_path / "c")
    missing = "missing: fog/3, " + ", ".join(f"jpeg_compression/{severity}" for severity in range(1, 6))
    assert checked.problems[0] == missing
    assert len(checked.tiles) == 69
    assert checked.columns == 5


def test_a_c_version_is_known_from_inside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_coded(tmp_path / "pets-c" / "fog" / "1" / "cat" / "1.png", 5)
    monkeypatch.chdir(tmp_path / "pets-c")
    checked = check_data(Path("."))
    assert checked.kind == "folder-c"
    assert "pets-c/fog/1: 1 images in 1 classes" in checked.found


def test_a_missing_variant_and_one_that_is_laid_out_wrongly(tmp_path: Path) -> None:
    for variant in ("matched-frequency", "top-images"):
        save_coded(tmp_path / f"imagenetv2-{variant}-format-val" / "7" / "a.jpeg", 5)
    save_coded(tmp_path / "imagenetv2-top-images-format-val" / "cat" / "a.jpeg", 5)
    checked = check_data(tmp_path)
    assert checked.problems[0] == "missing variant: threshold0.7"
    assert any("cat: expected folders named 0 to 999" in each for each in checked.problems)


def test_an_archive_of_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"a\.tar is no archive, or damaged"):
        check_data(tmp_path / "a.tar")


def test_reassessed_labels_are_counted(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        save_coded(tmp_path / "val" / "n01440764" / f"ILSVRC2012_val_{number:08d}.JPEG", 5)
    checked = check_data(tmp_path / "val")
    assert "as imagenet-real: 1 images have no reassessed label" in checked.found


def test_cifar_folders_name_the_class_that_lacks_images(tmp_path: Path) -> None:
    for name in TEN[:9]:
        save_coded(tmp_path / name / "1.png", 5, side=32)
    assert any("truck 0 of 1000" in each for each in check_data(tmp_path, "cifar10").problems)


def test_a_sheet_holds_every_image(tmp_path: Path) -> None:
    images = stack(700, 20, 30)
    sheet = contact_sheet([Tile(image, ("one", "a very long name that goes beyond the tile")) for image in images], 2)
    save_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image)
    for image_ in images:
        colour = image_[:, 0, 0].numpy()
        assert int((pixels == colour).all(2).sum()) == 128 * 128
