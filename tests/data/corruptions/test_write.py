"""C versions on disk: laid out like the published ones, gone on with after a stop, read back alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seasoning.data.corruptions import write as corrupting
from seasoning.data.corruptions.apply import CORRUPTIONS, corrupt
from seasoning.data.corruptions.write import write_corrupted
from seasoning.data.decoding import Photo
from seasoning.data.listing import Listing
from seasoning.data.reading import read_samples
from seasoning.data.recognise import Recognised, find_set, shortfall
from seasoning.errors import BadInput, RunConflict, UnknownName
from tests.data.test_cifar import TEN, python10
from tests.data.trees import save_coded


def save_noise(path: Path, seed: int, width: int = 16, height: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for number in range(6):
        save_noise(root / ("cat", "dog")[number % 2] / f"{number}.jpg", number)
    return root


def opened(path: Path, kind: str | None = None) -> tuple[Recognised, Listing]:
    found = find_set(path, kind)
    return found, found.parts[0].open()


def test_a_folder_gets_the_published_layout_and_is_read_back(pets: Path, tmp_path: Path) -> None:
    _, listing = opened(pets)
    out = tmp_path / "pets-c"
    assert write_corrupted(listing, "folder", out, corruptions=("fog", "snow"), severities=(2, 5), seed=3) == 24
    files = sorted(path.relative_to(out).as_posix() for path in (out / "fog").rglob("*") if path.is_file())
    assert files == [
        f"fog/{severity}/{name}"
        for severity in (2, 5)
        for name in ("cat/0.png", "cat/2.png", "cat/4.png", "dog/1.png", "dog/3.png", "dog/5.png")
    ]
    found = find_set(out)
    assert found.kind == "folder-c"
    assert [part.name for part in found.parts] == ["pets-c/snow/2", "pets-c/snow/5", "pets-c/fog/2", "pets-c/fog/5"]
    back = read_samples(found.parts[3].open())
    original = read_samples(listing)
    assert back.ids.tolist() == original.ids.tolist()
    assert back.y.tolist() == original.y.tolist()
    assert torch.equal(back.x, corrupt(original.x, original.ids, "fog", 5, seed=3))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_was_cut_off_goes_on(
    pets: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, listing = opened(pets)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write_corrupted(listing, "folder", whole, corruptions=("contrast",), workers=workers)
    seen: list[int] = []

    def stop(name: str, done: int, total: int) -> None:
        seen.append(done)
        if done >= 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(corrupting, "_TOGETHER", 2)
    with pytest.raises(KeyboardInterrupt):
        write_corrupted(listing, "folder", cut, corruptions=("contrast",), on_images=stop)
    assert seen == [2, 4, 6, 8, 10, 12]
    assert write_corrupted(listing, "folder", cut, corruptions=("contrast",)) == 18
    for path in whole.rglob("*.png"):
        assert path.read_bytes() == (cut / path.relative_to(whole)).read_bytes()
    assert write_corrupted(listing, "folder", cut, corruptions=("contrast",)) == 0
    assert not list(cut.rglob("*.tmp"))


def test_another_c_version_and_other_files_are_left_alone(pets: Path, tmp_path: Path) -> None:
    _, listing = opened(pets)
    out = tmp_path / "c"
    write_corrupted(listing, "folder", out, corruptions=("contrast",), severities=(1,))
    with pytest.raises(RunConflict, match=r"another C version \(seed is 0 there and 1 here\): choose another folder"):
        write_corrupted(listing, "folder", out, corruptions=("contrast",), seed=1)
    with pytest.raises(RunConflict, match="holds something else"):
        write_corrupted(listing, "folder", pets)


def test_a_set_of_the_same_names_is_another_one(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    write_corrupted(opened(pets)[1], "folder", out, corruptions=("contrast",), severities=(1,))
    save_noise(pets / "dog" / "5.jpg", 99)
    with pytest.raises(RunConflict, match=r"another C version \(its sources are others\)"):
        write_corrupted(opened(pets)[1], "folder", out, corruptions=("contrast",), severities=(1,))


def test_arrays_of_other_pixels_are_another_set(tmp_path: Path) -> None:
    python10(tmp_path / "py")
    _, listing = opened(tmp_path / "py")
    write_corrupted(listing, "cifar10", tmp_path / "c", corruptions=("contrast",))
    assert listing.pixels is not None
    other = replace(listing, pixels=255 - listing.pixels)
    with pytest.raises(RunConflict, match="its sources are others"):
        write_corrupted(other, "cifar10", tmp_path / "c", corruptions=("contrast",))


def test_images_of_several_sizes_keep_them_unless_viewed(pets: Path, tmp_path: Path) -> None:
    save_noise(pets / "cat" / "wide.png", 9, width=40)
    _, listing = opened(pets)
    write_corrupted(listing, "folder", tmp_path / "own", corruptions=("pixelate",), severities=(1,))
    with Image.open(tmp_path / "own" / "pixelate" / "1" / "cat" / "wide.png") as image:
        assert image.size == (40, 12)
    view = Photo((8, 8), 0.875, "bilinear")
    write_corrupted(listing, "folder", tmp_path / "cut", corruptions=("pixelate",), severities=(1,), view=view)
    with Image.open(tmp_path / "cut" / "pixelate" / "1" / "cat" / "wide.png") as image:
        assert image.size == (8, 8)


def test_masks_come_along(tmp_path: Path) -> None:
    save_coded(tmp_path / "a" / "n01531178" / "0.01_goldfinch _ goldfinch_0.8.jpg", 5, side=16)
    found, listing = opened(tmp_path / "a")
    write_corrupted(listing, found.kind, tmp_path / "a-c", corruptions=("contrast",), severities=(1,))
    back = find_set(tmp_path / "a-c").parts[0].open()
    assert back.ids.tolist() == listing.ids.tolist()
    assert back.y.tolist() == [1]
    assert back.label_map == listing.label_map


def test_labels_stay_where_a_class_folder_is_missing(pets: Path, tmp_path: Path) -> None:
    out = tmp_path / "pets-c"
    write_corrupted(opened(pets)[1], "folder", out, corruptions=("contrast",), severities=(1, 2))
    for file in (out / "contrast" / "2" / "cat").iterdir():
        file.unlink()
    (out / "contrast" / "2" / "cat").rmdir()
    whole, lacking = (part.open() for part in find_set(out).parts)
    assert (whole.y.tolist(), shortfall(whole, "folder-c")) == ([0, 0, 0, 1, 1, 1], None)
    assert (lacking.class_names, lacking.y.tolist()) == (("cat", "dog"), [1, 1, 1])
    assert shortfall(lacking, "folder-c") == "3 of 6 images; by class: cat 0"


def test_a_c_version_follows_the_model_s_classes(pets: Path, tmp_path: Path) -> None:
    write_corrupted(opened(pets)[1], "folder", tmp_path / "c", corruptions=("contrast",), severities=(1,))
    (part,) = find_set(tmp_path / "c", class_names=("dog", "eel", "cat")).parts
    listing = part.open()
    assert (listing.class_names, listing.y.tolist()) == (("dog", "eel", "cat"), [0, 0, 0, 2, 2, 2])
    (part,) = find_set(tmp_path / "c", class_names=("dog", "eel")).parts
    with pytest.raises(BadInput, match="1 folders are none of the model's 2 classes: cat"):
        part.open()


def test_what_could_not_be_read_back_is_not_made(tmp_path: Path) -> None:
    save_coded(tmp_path / "val" / "n01440764" / "ILSVRC2012_val_00000001.JPEG", 5, side=16)
    (tmp_path / "val" / "real.json").write_text("[[5, 6]]")
    found, listing = opened(tmp_path / "val", "imagenet-real")
    with pytest.raises(
        BadInput, match=r"as imagenet-real: .* could not be read back.* corrupt them by --kind imagenet"
    ):
        write_corrupted(listing, found.kind, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_arrays_become_arrays(tmp_path: Path) -> None:
    python10(tmp_path / "py")
    found, listing = opened(tmp_path / "py")
    out = tmp_path / "c"
    assert write_corrupted(listing, found.kind, out, corruptions=("contrast", "fog")) == 30
    again = find_set(out)
    assert again.kind == "cifar10-c"
    assert len(again.parts) == 10
    mild = read_samples(again.parts[0].open())
    assert mild.name == "cifar10-c/fog/1"
    assert mild.y.tolist() == [3, 8, 0]
    assert torch.equal(mild.ids, listing.ids)
    assert torch.equal(mild.x, corrupt(read_samples(listing).x, listing.ids, "fog", 1))
    with pytest.raises(BadInput, match="holds all severities"):
        write_corrupted(listing, found.kind, out, severities=(1, 2))


@pytest.mark.parametrize("form", ["batches", "folders"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_c_versions_of_a_split_have_its_ids(tmp_path: Path, form: str, split: str) -> None:
    if form == "batches":
        python10(tmp_path / "ten")
    else:
        for place, name in enumerate(TEN):
            for part in ("train", "test"):
                save_noise(tmp_path / "ten" / part / name / "1.png", place, width=32, height=32)
    found = find_set(tmp_path / "ten", "cifar10", split=split)
    listing = found.parts[0].open()
    write_corrupted(listing, found.kind, tmp_path / "c", corruptions=("contrast",))
    # Not even asked for: the C version knows what it was made of.
    back = find_set(tmp_path / "c").parts[0].open()
    assert back.ids.tolist() == listing.ids.tolist()
    assert back.y.tolist() == listing.y.tolist()


def test_what_cannot_be_is_refused_before_any_file(pets: Path, tmp_path: Path) -> None:
    _, listing = opened(pets)
    out = tmp_path / "c"
    with pytest.raises(UnknownName, match="did you mean 'snow'"):
        write_corrupted(listing, "folder", out, corruptions=("snw",))
    with pytest.raises(BadInput, match=r"severities \[0, 3\]: expected some of 1, 2, 3, 4, 5"):
        write_corrupted(listing, "folder", out, corruptions=CORRUPTIONS, severities=(0, 3))
    assert not out.exists()
    save_noise(pets / "cat" / "0.png", 7)
    _, listing = opened(pets)
    with pytest.raises(BadInput, match=r"two images would both become cat/0\.png: rename one"):
        write_corrupted(listing, "folder", out)


SMALL = ((1, 1), (3, 2), (300, 7), (7, 7))


@pytest.mark.parametrize("size", SMALL)
def test_images_that_are_too_small_are_refused_before_any_work(
    pets: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    width, height = size
    save_noise(pets / "cat" / "small.png", 7, width=width, height=height)
    _, listing = opened(pets)
    out = tmp_path / "c"
    said = (
        rf"1 images have a side of less than 8 pixels: cat/small\.png \({width} x {height}\); remove them, or .*--size"
    )
    with pytest.raises(BadInput, match=said):
        write_corrupted(listing, "folder", out)
    assert not out.exists()
    view = Photo((16, 16), 0.875, "bilinear")
    assert write_corrupted(listing, "folder", out, corruptions=("pixelate",), severities=(5,), view=view) == 7


def test_images_without_a_header_are_refused_before_any_work(pets: Path, tmp_path: Path) -> None:
    for number in range(12):
        (pets / "cat" / f"cut{number}.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"12 images cannot be read: cat/cut0\.png, .*, …; copy them again"):
        write_corrupted(opened(pets)[1], "folder", tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("width", "height"), [(8, 8), (300, 8), (8, 97)])
def test_the_least_size_has_all_of_them(tmp_path: Path, width: int, height: int) -> None:
    save_noise(tmp_path / "set" / "cat" / "1.png", 7, width=width, height=height)
    _, listing = opened(tmp_path / "set")
    assert write_corrupted(listing, "folder", tmp_path / "c") == 75
    original = read_samples(listing).x
    for part in find_set(tmp_path / "c").parts:
        changed = read_samples(part.open()).x
        assert changed.shape == original.shape
        # A zoom by less than a pixel in all is the one that does nothing.
        assert torch.equal(changed, original) == (max(width, height) == 8 and part.name.endswith("zoom_blur/1"))


def test_names_that_differ_in_case_alone_are_one_file_to_some_disks(pets: Path, tmp_path: Path) -> None:
    save_noise(pets / "cat" / "A.png", 1)
    save_noise(pets / "cat" / "a.png", 2)
    _, listing = opened(pets)
    write_corrupted(listing, "folder", tmp_path / "c", corruptions=("fog",), severities=(1,))
    # Such a disk finds the note under any spelling.
    (tmp_path / "c" / "MADE-OF.JSON").write_text((tmp_path / "c" / "made-of.json").read_text())
    with pytest.raises(BadInput, match=r"two images would both become cat/a\.png: rename one"):
        write_corrupted(listing, "folder", tmp_path / "c", corruptions=("fog",), severities=(2,))
