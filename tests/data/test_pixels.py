"""The hash of an image's pixels: the same under any name and in any form that keeps them, another for other pixels."""

from pathlib import Path

import pytest
import torch
from blake3 import blake3
from PIL import Image

from seasoning.data import load_source
from seasoning.data.decoding import Photo
from seasoning.data.open import Opened, ReadOptions, open_data
from seasoning.data.pixels import pixel_hashes


PHOTO = Photo((8, 8), 1.0, "bicubic")


@pytest.fixture
def levels() -> torch.Tensor:
    """Images of 8 bits in colour."""
    return torch.randint(0, 256, (70, 3, 6, 5), dtype=torch.uint8)


def test_the_hash_is_that_of_size_and_levels(levels: torch.Tensor) -> None:
    digest = blake3(b"6x5" + levels[69].numpy().tobytes()).digest()[:8]
    assert pixel_hashes(levels)[69] == int.from_bytes(digest, "little")
    assert len(set(pixel_hashes(levels).tolist())) == 70


def test_levels_and_floats_and_grey_in_three_channels_are_the_same_images(levels: torch.Tensor) -> None:
    assert pixel_hashes(levels.float() / 255).tolist() == pixel_hashes(levels).tolist()
    grey = levels[:, :1]
    assert pixel_hashes(grey.expand(-1, 3, -1, -1)).tolist() == pixel_hashes(grey).tolist()


def test_another_pixel_channel_or_shape_is_another_image(levels: torch.Tensor) -> None:
    same = pixel_hashes(levels).tolist()
    changed = levels.clone()
    changed[:, 2, 5, 4] ^= 1
    turned = levels.flip(1)
    wide = levels.reshape(70, 3, 5, 6)
    for others in (changed, turned, wide):
        assert not set(pixel_hashes(others).tolist()) & set(same)
    # Grey in the first row alone is not grey.
    almost = levels[:, :1].repeat(1, 3, 1, 1)
    almost[:, 1, 3] ^= 1
    assert not set(pixel_hashes(almost).tolist()) & set(pixel_hashes(levels[:, :1]).tolist())


def pictures(root: Path, names: str, kind: str = "png") -> Opened:
    """The first hundred digits in a folder, under names of its own."""
    digits = load_source("digits")
    for row in range(100):
        folder = root / str(int(digits.y[row]))
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((digits.x[row, 0] * 255).round().to(torch.uint8).numpy())
        image.save(folder / f"{names}{row}.{kind}")
    return open_data([str(root)], ReadOptions(transform="as-is"))[0]


def test_the_same_pictures_are_found_in_another_folder_under_other_names(tmp_path: Path) -> None:
    ids, hashes = pictures(tmp_path / "one", "a").pixel_hashes(PHOTO)
    others, same = pictures(tmp_path / "other", "img-").pixel_hashes(PHOTO)
    assert set(hashes.tolist()) == set(same.tolist()) == set(pixel_hashes(load_source("digits").x[:100]).tolist())
    assert not set(ids.tolist()) & set(others.tolist())
    # Compressed with loss they are other pictures.
    assert not set(pictures(tmp_path / "lossy", "a", "jpg").pixel_hashes(PHOTO)[1].tolist()) & set(hashes.tolist())


def test_hashes_on_the_way_are_those_of_what_is_read(tmp_path: Path) -> None:
    opened = pictures(tmp_path / "one", "a")
    (tmp_path / "one" / "3" / "a3.png").write_bytes(b"damaged")
    (again,) = open_data([str(tmp_path / "one")], ReadOptions(transform="as-is", skip_damaged=True))
    ids, hashes = again.pixel_hashes(PHOTO)
    read = again.read(PHOTO)
    assert len(read) == 99 < len(opened.ids)
    assert ids.tolist() == read.ids.tolist()
    assert hashes.tolist() == pixel_hashes(read.x).tolist()
