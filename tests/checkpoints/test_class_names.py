"""Names of classes that checkpoints carry: found, compared, handed on to soups, and refused where orders differ."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seasoning.checkpoints.class_names import agreed_names, carried_names, class_names_in
from seasoning.checkpoints.constants import Constants
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.ingredients import load_ingredients
from seasoning.checkpoints.load import load_ingredient
from seasoning.checkpoints.provenance import ingredient_metadata, read_provenance, soup_metadata
from seasoning.checkpoints.save import save_state
from seasoning.errors import BadInput, Mismatch
from seasoning.soup import check_mixable, mix, mix_files
from seasoning.soup.verify import verify_soup
from tests.command_line import seasoning


WANTED = ("cat", "ant", "Dog 2")
IN_ORDER = {str(index): name for index, name in enumerate(WANTED)}


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": list(WANTED)},
        {"class_names": json.dumps(WANTED)},
        {"label_names": str(WANTED)},
        {"id2label": IN_ORDER},
        {"id2label": json.dumps(dict(reversed(IN_ORDER.items())))},
        {"config": {"id2label": {int(index): name for index, name in IN_ORDER.items()}}},
        {"class_to_idx": {name: index for index, name in enumerate(WANTED)}},
        {"label2id": json.dumps({name: index for index, name in reversed(list(enumerate(WANTED)))})},
        {"model": json.dumps({"pretrained_cfg": {"label_names": WANTED}})},
        {"hyper_parameters": {"dataset": {"classes": list(WANTED)}}, "num_classes": 3, "epoch": "7"},
        {"id2label": {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, "names": list(WANTED)},
        {"id2label": IN_ORDER, "label2id": {name: int(index) for index, name in IN_ORDER.items()}},
        {"classes": dict(IN_ORDER), "labels": 3},
    ],
)
def test_names_are_found_in_logit_order(metadata: dict[str, Any]) -> None:
    assert class_names_in(metadata) == WANTED


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"classes": "10"},
        {"classes": 10},
        {"classes": "[1, 2"},
        {"classes": [1, 2]},
        {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
        {"id2label": {"0": "cat", "2": "dog"}},
        {"class_to_idx": {"cat": 0, "dog": 0}},
        {"labels": ["cat"]},
        {"seasoning.soup": '{"ingredients": ["a", "b"]}'},
    ],
)
def test_what_names_no_classes_says_nothing(metadata: dict[str, Any]) -> None:
    assert class_names_in(metadata) is None


def test_two_orders_in_one_checkpoint_are_refused() -> None:
    with pytest.raises(
        BadInput, match="names its classes twice, in different orders: id2label is cat, ant, Dog 2, and"
    ):
        class_names_in({"classes": sorted(WANTED), "id2label": IN_ORDER})


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (None, None, None),
        (WANTED, None, WANTED),
        (None, WANTED, WANTED),
        (WANTED, ("cat", "ant", "dog_2"), WANTED),
        (WANTED, ("n01", "n02", "n03"), WANTED),
        (("ant", "crane", "eel", "crane"), ("ant", "crane", "eel", "crane"), ("ant", "crane", "eel", "crane")),
    ],
)
def test_lists_that_do_not_contradict_each_other_are_one(one: Any, other: Any, together: Any) -> None:
    assert agreed_names([("a", one), ("b", other)]) == together


@pytest.mark.parametrize("other", [("ant", "cat", "Dog 2"), ("Cat", "DOG_2", "ant"), ("0", "cat", "1")])
def test_a_class_at_two_places_is_refused_by_its_name(other: tuple[str, ...]) -> None:
    with pytest.raises(Mismatch, match=r"a and b name the classes in two orders, such as '.*', class [0-2] of a and"):
        agreed_names([("a", WANTED), ("c", None), ("b", other)])


def saved(folder: Path, seed: int, names: tuple[str, ...] | None) -> Path:
    """A checkpoint of a linear layer that names its classes, or does not; copies of one base."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.rand(3, 200, generator=torch.Generator().manual_seed(0))
    path = folder / f"{seed}.pt"
    content = {"state_dict": {"fc.weight": base + 0.01 * torch.rand(3, 200, generator=generator)}}
    torch.save(content | ({} if names is None else {"classes": list(names), "epoch": 7}), path)
    return path


def test_a_soup_keeps_the_names_of_its_ingredients(tmp_path: Path) -> None:
    paths = [saved(tmp_path, 1, None), saved(tmp_path, 2, WANTED)]
    soup = mix_files(paths, (0.5, 0.5), tmp_path / "soup")
    assert carried_names(soup) == WANTED
    assert read_provenance(soup, 2).classes == WANTED
    assert verify_soup(soup, paths).problems == []
    # And a soup of soups; of ingredients without names it has none.
    assert carried_names(mix_files([soup, paths[0]], (0.5, 0.5), tmp_path / "again")) == WANTED
    assert carried_names(mix_files([paths[0]] * 2, (0.5, 0.5), tmp_path / "nameless")) is None


def test_a_provenance_that_names_the_classes_otherwise_is_told(tmp_path: Path) -> None:
    paths = [saved(tmp_path, 1, WANTED), saved(tmp_path, 2, WANTED)]
    states = [load_ingredient(path) for path in paths]
    metadata = soup_metadata(list(map(fingerprint, states)), (0.5, 0.5), classes=("ant", "cat", "Dog 2"))
    save_state(mix(states, (0.5, 0.5)), tmp_path / "soup", metadata)
    (problem,) = verify_soup(tmp_path / "soup", paths).problems
    assert problem.startswith("by its provenance the soup and by their files its ingredients name the classes in two")


def test_ingredients_of_two_orders_are_refused_by_every_command(tmp_path: Path) -> None:
    paths = [saved(tmp_path, 1, WANTED), saved(tmp_path, 2, ("ant", "cat", "Dog 2"))]
    with pytest.raises(Mismatch, match=r"1\.pt and .*2\.pt name the classes in two orders"):
        mix_files(paths, (0.5, 0.5), tmp_path / "soup")
    assert not (tmp_path / "soup").exists()
    ingredients = load_ingredients(paths, ["a", "b"])
    with pytest.raises(Mismatch, match="a and b name the classes"):
        ingredients.agreed_classes()
    report = check_mixable(ingredients.states, names=ingredients.names, classes=ingredients.classes)
    assert report.verdict.startswith("do not mix: a and b name the classes in two orders, such as 'ant', class 1 of a")
    assert check_mixable(ingredients.states).mixable
    assert "do not mix" in seasoning("check", *paths, expect=1)


def test_names_in_the_metadata_of_an_ingredient_are_found(tmp_path: Path) -> None:
    metadata = ingredient_metadata(Constants((0.5,), (0.5,)), [], "resnet_small", {"classes": ["b", "a"], "epoch": 1})
    save_state({"fc.weight": torch.rand(2, 3)}, tmp_path / "one", metadata)
    assert carried_names(tmp_path / "one") == ("b", "a")
