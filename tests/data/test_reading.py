"""Decoding: in worker processes, into memory or a mapped file, at the size that is asked for."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from seasoning.data import samples as samples_module
from seasoning.data.decoding import Photo, Whole, decode
from seasoning.data.files import ImageFile, read_tree
from seasoning.data.folder import tree_listing
from seasoning.data.listing import Listing
from seasoning.data.reading import read_samples
from seasoning.data.samples import Samples
from seasoning.errors import BadInput


PHOTO = Photo((16, 16), 0.875, "bicubic")


def noise(seed: int, width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(70):
        path = root / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(number, 30 + number % 3, 24).save(path)
    return root


def listing(root: Path) -> Listing:
    return tree_listing(read_tree(root))


def test_photographs_are_resized_and_cropped_as_timm_does(root: Path) -> None:
    samples = read_samples(listing(root), view=PHOTO)
    usual = transforms.Compose(
        [
            transforms.Resize(18, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(16),
            transforms.PILToTensor(),
        ]
    )
    with Image.open(root / "cat" / "02.png") as image:
        assert torch.equal(samples.x[1], usual(image))
    assert samples.x.dtype == torch.uint8


def test_a_model_of_another_size_sees_the_whole_image(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0], pixels[-1] = 255, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = decode(ImageFile("a.png", str(tmp_path / "a.png")), Whole((16, 16)))
    assert tuple(seen.shape) == (3, 16, 16)
    assert bool((seen[:, [0, -1]] > 200).all())


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(root: Path, workers: int) -> None:
    alone, shared = (read_samples(listing(root), view=PHOTO, workers=each) for each in (0, workers))
    assert torch.equal(alone.x, shared.x)
    assert alone.fingerprint() == shared.fingerprint()


def test_a_mapped_file_holds_the_same_and_is_made_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = read_samples(listing(root), view=PHOTO)
    cache = tmp_path / "cache"
    first = read_samples(listing(root), view=PHOTO, cache=cache)
    assert first.fingerprint() == plain.fingerprint()
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".pixels"]
    monkeypatch.setattr("seasoning.data.reading.decode_all", None)
    again = read_samples(listing(root), view=PHOTO, cache=cache)
    assert torch.equal(again.x, plain.x)
    # What was hashed when it was written is not hashed again: only ids and labels are.
    feed = samples_module._feed

    def no_pixels(digest: Any, column: Tensor) -> None:
        assert column.dim() < 4
        feed(digest, column)

    monkeypatch.setattr(samples_module, "_feed", no_pixels)
    assert again.fingerprint() == plain.fingerprint()


def test_a_mapped_file_follows_its_sources(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    # Uncompressed, so that another image has as many bytes.
    changed = root / "cat" / "00.bmp"
    noise(998, 30, 24).save(changed)
    before = read_samples(listing(root), view=PHOTO, cache=cache)
    noise(999, 30, 24).save(changed)
    os.utime(changed, ns=(1, 1))
    after = read_samples(listing(root), view=PHOTO, cache=cache)
    assert not torch.equal(before.x[0], after.x[0])
    assert before.fingerprint() != after.fingerprint()
    wide = read_samples(listing(root), view=Photo((20, 20), 1.0, "bilinear"), cache=cache)
    assert wide.x.shape[2:] == (20, 20)


def test_sets_of_the_same_names_sizes_and_times_do_not_share_a_mapped_file(tmp_path: Path) -> None:
    read = []
    for seed, name in enumerate(("one", "other")):
        path = tmp_path / name / "cat" / "1.bmp"
        path.parent.mkdir(parents=True)
        noise(seed, 30, 24).save(path)
        os.utime(path, ns=(1, 1))
        read.append(read_samples(listing(tmp_path / name), cache=tmp_path / "cache"))
    assert not torch.equal(read[0].x, read[1].x)


def test_a_file_that_was_cut_off_is_made_again(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole = read_samples(listing(root), view=PHOTO, cache=cache)
    (file,) = cache.glob("*.pixels")
    kept = whole.x.clone()
    file.write_bytes(b"short")
    assert torch.equal(read_samples(listing(root), view=PHOTO, cache=cache).x, kept)
    (note,) = cache.glob("*.json")
    note.write_text(json.dumps({"rows": [0]})[:-3])
    assert torch.equal(read_samples(listing(root), view=PHOTO, cache=cache).x, kept)


@pytest.mark.parametrize("cached", [False, True])
def test_damaged_images_are_all_listed_and_left_out_only_when_asked(root: Path, tmp_path: Path, cached: bool) -> None:
    whole = (root / "cat" / "04.png").read_bytes()
    (root / "cat" / "04.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "05.png").write_text("no image")
    options = {"cache": tmp_path / "cache"} if cached else {}
    with pytest.raises(BadInput) as error:
        read_samples(listing(root), view=PHOTO, **options)  # type: ignore[arg-type]
    said = str(error.value)
    assert "2 of its 70 images cannot be read" in said
    assert "cat/04.png is no image, or damaged" in said
    assert "dog/05.png is no image, or damaged" in said
    assert "--skip-damaged" in said
    samples = read_samples(listing(root), view=PHOTO, skip_damaged=True, **options)  # type: ignore[arg-type]
    assert len(samples) == 68
    assert len(samples.skipped) == 2
    full = listing(root)
    kept = [row for row, file in enumerate(full.files) if file.name not in ("cat/04.png", "dog/05.png")]
    assert samples.ids.tolist() == full.ids[kept].tolist()
    assert samples.y.tolist() == full.y[kept].tolist()


def test_a_set_of_nothing_but_damage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_text("no image")
    with pytest.raises(BadInput, match="none of its 1 images can be read"):
        read_samples(listing(tmp_path), skip_damaged=True)


def test_sizes_that_differ_are_refused_unless_viewed(root: Path) -> None:
    with pytest.raises(BadInput, match=r"cat/02\.png has 32 x 24 pixels, cat/00\.png 30 x 24: bring all to one size"):
        read_samples(listing(root))


def test_more_than_memory_asks_for_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seasoning.data.reading._SHARE_OF_MEMORY", 1e-9)
    with pytest.raises(BadInput, match="keep them in a folder of a disk by --cache"):
        read_samples(listing(root), view=PHOTO)


def test_8_bit_images_have_the_fingerprint_of_their_pixels(few: Samples) -> None:
    x = (few.x * 255).round().byte()
    samples = Samples("few", few.ids, x, few.y, 10)
    before = samples.fingerprint()
    assert Samples("few", few.ids, x.clone(), few.y, 10).fingerprint() == before
    x[0, 0, 0, 0] += 1
    assert samples.fingerprint() != before
    torch.testing.assert_close(samples.images(slice(3)), x[:3].float() / 255)
