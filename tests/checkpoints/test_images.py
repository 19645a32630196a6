"""The images that a checkpoint's file lists: all of them, a sample of many, and the union that a soup has."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seasoning.checkpoints.images import (
    Hashes,
    ImageSet,
    UsedImages,
    images_metadata,
    joined,
    read_used_images,
    used_images,
)
from seasoning.checkpoints.load import save_state
from seasoning.errors import BadInput
from seasoning.soup import mix_files


KEY = "seasoning.images"
SETS = [ImageSet("letters/train", "f" * 64)]


def planted(count: int, seed: int = 0) -> Hashes:
    """Different hashes."""
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def written(used: UsedImages | None, path: Path, value: float = 0.0) -> Path:
    """A checkpoint that lists these images."""
    save_state({"weight": torch.full((2,), value)}, path, images_metadata(used))
    return path


def listed(used: UsedImages | None) -> dict[str, set[int]]:
    """The hashes by kind."""
    assert used is not None
    return {kind: set(own.tolist()) for kind, own in used.hashes.items()}


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    train, validation = planted(500), planted(80, seed=1)
    # An image that trained and validated counts as a training image, and one that is there twice counts once.
    both = np.concatenate([validation, train[:7], validation[:3]])
    used = used_images({"training": train, "validation": both}, SETS)
    found = read_used_images(written(used, tmp_path / "a.safetensors"))
    assert listed(found) == {
        "training": set(train.tolist()),
        "validation": set(validation.tolist()),
        "selection": set(),
    }
    assert found is not None
    assert (found.sets, found.one_in, found.complete) == (tuple(SETS), 1, True)
    assert all(np.array_equal(own, np.unique(own)) for own in found.hashes.values())


def test_the_format_is_what_its_description_says(tmp_path: Path) -> None:
    used = used_images({"training": np.array([258, 1], dtype=np.uint64)}, SETS)
    content = json.loads(images_metadata(used)[KEY])
    assert base64.b64decode(content["training"]) == bytes([1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0])
    assert content["sets"] == [{"name": "letters/train", "fingerprint": "f" * 64}]
    assert (content["one_in"], content["complete"], content["validation"]) == (1, True, "")


def test_fifty_thousand_images_are_listed_and_one_more_are_a_sample() -> None:
    train, validation = planted(49_000), planted(1_000, seed=1)
    exact = used_images({"training": train, "validation": validation}, SETS)
    assert exact.one_in == 1
    assert {kind: len(own) for kind, own in exact.hashes.items()} == {
        "training": 49_000,
        "validation": 1_000,
        "selection": 0,
    }
    more = used_images({"training": planted(50_001)}, SETS)
    assert more.one_in == 2
    assert listed(more)["training"] == {each for each in planted(50_001).tolist() if each % 2 == 0}


@pytest.mark.parametrize(("count", "one_in"), [(60_000, 2), (300_000, 8)])
def test_of_many_images_those_are_listed_whose_hash_the_number_divides(count: int, one_in: int) -> None:
    used = used_images({"training": planted(count)}, SETS)
    assert used.one_in == one_in
    own = used.hashes["training"]
    assert not (own % np.uint64(one_in)).any()
    assert abs(len(own) * one_in / count - 1) < 0.03
    assert listed(used)["training"] == {each for each in planted(count).tolist() if each % one_in == 0}


def test_the_text_has_at_most_a_mebibyte() -> None:
    sets = [ImageSet("ü" * 1000 + str(number), f"{number:064}") for number in range(2000)]
    full = {"training": planted(49_000), "validation": planted(1_000, seed=1), "selection": planted(25_000, seed=2)}
    used = used_images(full, sets)
    assert used.one_in == 1
    text = images_metadata(used)[KEY]
    assert 800_000 < len(text.encode()) <= 2**20
    million = used_images({"training": planted(800_001), "selection": planted(80_000, seed=2)}, sets)
    assert million.one_in == 32
    assert len(images_metadata(million)[KEY].encode()) <= 2**20


def test_a_union_has_all_images_sampled_as_the_coarsest() -> None:
    some, many = used_images({"training": planted(100)}, SETS), used_images({"training": planted(120_000, 1)}, [])
    assert many.one_in == 4
    both = joined([some, many])
    assert both is not None
    assert both.one_in == 4
    assert both.sets == tuple(SETS)
    wanted = {each for each in (*planted(100).tolist(), *planted(120_000, 1).tolist()) if each % 4 == 0}
    assert listed(both)["training"] == wanted
    assert both.complete
    assert joined([None, None]) is None
    lacking = joined([some, None])
    assert lacking is not None
    assert not lacking.complete
    assert listed(lacking) == listed(some)


def test_a_validation_image_of_one_that_trained_another_is_a_training_image() -> None:
    one = used_images({"training": planted(10), "validation": planted(5, 1)}, [])
    other = used_images({"training": planted(5, 1)}, [])
    both = listed(joined([one, other]))
    assert both["training"] == {*planted(10).tolist(), *planted(5, 1).tolist()}
    assert both["validation"] == set()


def test_a_soup_lists_the_images_of_its_ingredients_and_those_that_chose_it(tmp_path: Path) -> None:
    paths = [
        written(
            used_images({"training": planted(20, seed)}, [ImageSet(f"{seed}", "0")]), tmp_path / f"{seed}", float(seed)
        )
        for seed in range(3)
    ]
    chosen = used_images({"selection": planted(9, 7)}, [ImageSet("new/selection", "1")])
    soup = mix_files(paths, (0.5, 0.0, 0.5), tmp_path / "soup.safetensors", chosen_on=chosen)
    found = read_used_images(soup)
    assert listed(found) == {
        # The second ingredient has no part in it.
        "training": {*planted(20, 0).tolist(), *planted(20, 2).tolist()},
        "validation": set(),
        "selection": set(planted(9, 7).tolist()),
    }
    assert found is not None
    assert [each.name for each in found.sets] == ["0", "2", "new/selection"]
    # A soup of soups has them, too.
    again = read_used_images(mix_files([soup, paths[1]], (0.5, 0.5), tmp_path / "again.safetensors"))
    assert listed(again)["training"] == {each for seed in range(3) for each in planted(20, seed).tolist()}
    assert listed(again)["selection"] == set(planted(9, 7).tolist())


def test_files_that_list_nothing_are_read_as_before(tmp_path: Path) -> None:
    old = [written(None, tmp_path / name, value) for name, value in (("a", 0.0), ("b", 1.0))]
    torch.save({"weight": torch.zeros(2)}, tmp_path / "c.pt")
    assert [read_used_images(each) for each in [str(old[0]), str(old[1]), str(tmp_path / "c.pt"), "timm:resnet18"]] == [
        None
    ] * 4
    soup = mix_files(old, (0.5, 0.5), tmp_path / "soup")
    assert read_used_images(soup) is None


@pytest.mark.parametrize(
    "change",
    [
        {"training": "no base64"},
        {"training": "AAAA"},
        {"one_in": 0},
        {"hash": "MD5"},
        {"sets": [1]},
        {"selection": None},
    ],
)
def test_a_list_that_cannot_be_read_is_told(tmp_path: Path, change: dict[str, object]) -> None:
    content = json.loads(images_metadata(used_images({"training": planted(3)}, SETS))[KEY])
    save_state({"weight": torch.zeros(2)}, tmp_path / "a", {KEY: json.dumps(content | change)})
    with pytest.raises(BadInput, match=r"a has hashes of its training images that cannot be read \(.*copy the file"):
        read_used_images(tmp_path / "a")
