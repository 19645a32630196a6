"""The order of classes: as folders are sorted, as a list says, as a checkpoint says."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.utils.misc import natural_key

from seasoning.checkpoints.class_names import class_names_in
from seasoning.data.class_names import Numbering, numbered
from seasoning.data.corruptions.write import write_corrupted
from seasoning.data.open import ReadOptions, open_data
from seasoning.data.recognise import find_set
from seasoning.errors import BadInput, UnknownName
from tests.data.trees import save_coded


NAMES = st.lists(st.text("aAbB019_ ", min_size=1, max_size=5), min_size=2, max_size=8, unique=True)


def order(names: list[str], how: str = "auto") -> list[str]:
    return list(numbered(names, Numbering(order=how), "here")[0])


@given(NAMES)
def test_natural_order_is_that_of_timm_s_reader(names: list[str]) -> None:
    # Where timm's key ties, its order is that of a set: any.
    ours = [natural_key(name) for name in order(names, "natural")]
    assert ours == sorted(map(natural_key, names))


@given(NAMES)
def test_plain_order_is_that_of_torchvision(names: list[str]) -> None:
    assert order(names, "plain") == sorted(names)


@given(NAMES)
def test_it_is_said_where_the_usual_orders_differ_and_only_there(names: list[str]) -> None:
    taken, notes = numbered(names, Numbering(), "here")
    differ = {tuple(order(names, how)) for how in ("plain", "natural")} != {taken}
    assert bool(notes) == differ
    for how in ("plain", "natural"):
        assert numbered(names, Numbering(order=how), "here")[1] == []


@pytest.mark.parametrize(
    ("names", "taken", "said"),
    [
        (["class10", "class2"], ["class10", "class2"], "in natural order, as timm does, class 0 would be 'class2'"),
        (["Zebra", "ant"], ["Zebra", "ant"], "in natural order, as timm does, class 0 would be 'ant'"),
        (["10", "9", "1"], ["1", "9", "10"], "in plain order, as torchvision does, class 1 would be '10'"),
        (["cat", "ant", "dog"], ["ant", "cat", "dog"], ""),
        (["01", "02", "10"], ["01", "02", "10"], ""),
    ],
)
def test_the_usual_cases(names: list[str], taken: list[str], said: str) -> None:
    found, notes = numbered(names, Numbering(), "here")
    assert list(found) == taken
    assert [said in note for note in notes] == ([True] if said else [])


def test_unknown_orders_and_classes_named_twice_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'natural'"):
        Numbering(order="naturl")
    with pytest.raises(BadInput, match="names 'crane' more than once, for logits 1 and 4"):
        Numbering(("ant", "crane", "dog", "eel", "crane", "fox"))
    with pytest.raises(BadInput, match="names 'crane' more than once"):
        open_data(["digits"], ReadOptions(class_names=("crane", "crane")))


WANTED = ("cat", "ant", "Dog 2")


def test_numbers_as_names_are_names() -> None:
    for names in (("class1", "class2", "class10"), ("0", "1", "10", "2")):
        assert class_names_in({"classes": list(names)}) == names
        assert numbered(sorted(names), Numbering(carried=names), "here")[0] == names


FOLDERS = ["ant", "cat", "dog_2"]


def test_a_checkpoint_s_names_settle_the_order() -> None:
    names, notes = numbered(FOLDERS, Numbering(carried=WANTED), "here")
    assert names == ("cat", "ant", "dog_2")
    assert notes == ["classes are numbered as the checkpoint names them: cat, ant, dog_2"]
    # Of a model of more classes than there are folders.
    names, _ = numbered(["ant", "cat"], Numbering(carried=WANTED), "here")
    assert names == WANTED
    # Nothing is to be said where they only confirm, nor of orders that do not matter any more.
    assert numbered(["a10", "a2"], Numbering(carried=("a10", "a2")), "here") == (("a10", "a2"), [])


def test_what_the_user_says_comes_first_and_a_contradiction_is_said() -> None:
    names, notes = numbered(FOLDERS, Numbering(order="plain", carried=WANTED), "here")
    assert names == ("ant", "cat", "dog_2")
    assert notes == [
        "classes are numbered by the plain order of the folders (ant, cat, dog_2); the checkpoint names them as cat, "
        "ant, dog_2"
    ]
    names, notes = numbered(FOLDERS, Numbering(("dog_2", "ant", "cat"), carried=WANTED), "here")
    assert names == ("dog_2", "ant", "cat")
    assert "by the list of classes" in notes[0]


def test_names_of_something_else_do_not_number_folders() -> None:
    names, notes = numbered(["n01", "n02"], Numbering(carried=WANTED), "here")
    assert names == ("n01", "n02")
    assert notes[0].startswith("the checkpoint names its classes (cat, ant, Dog 2) otherwise than the folders are")
    with pytest.raises(BadInput, match=r"1 folders are none of the checkpoint's 3 classes: eel; .*--class-order"):
        numbered(["cat", "eel"], Numbering(carried=WANTED), "here")
    twice = Numbering(carried=("crane", "cat", "dog", "crane", "cat"))
    with pytest.raises(BadInput, match="'cat' more than once, for logits 1 and 4"):
        numbered(["cat", "dog"], twice, "here")
    assert numbered(["dog"], twice, "here")[0][2] == "dog"


def test_accents_are_the_same_however_they_are_written() -> None:
    whole, parted = "caf\u00e9", "cafe\u0301"
    assert numbered([parted, "ant"], Numbering((whole, "ant")), "here")[0] == (parted, "ant")
    assert numbered([whole, "ant"], Numbering(carried=(parted, "ant")), "here")[0] == (whole, "ant")


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    for name in ("class1", "class2", "class10"):
        save_coded(tmp_path / "set" / name / "1.png", int(name[5:]), side=16)
    return tmp_path / "set"


def labels(root: Path, **more: Any) -> tuple[dict[str, int], tuple[str, ...]]:
    listing = find_set(root, **more).parts[0].open()
    return {file.name.split("/")[0]: label for file, label in zip(listing.files, listing.y.tolist(), strict=True)}, (
        listing.notes
    )


def test_a_c_version_is_numbered_like_what_it_was_made_of(numbers: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    write_corrupted(find_set(numbers).parts[0].open(), "folder", out, corruptions=("fog",), severities=(1, 2))
    named: list[dict[str, Any]] = [
        {},
        {"class_order": "natural"},
        {"carried": ("class2", "class1", "class10")},
        {"class_names": ("class10", "x", "class2", "class1")},
    ]
    for more in named:
        assert labels(out, **more)[0] == labels(numbers, **more)[0], more
    assert labels(numbers, class_order="natural")[0] == {"class1": 0, "class2": 1, "class10": 2}
    # Without a class of it, too, and where the order was another one from the start.
    shutil.rmtree(out / "fog" / "1" / "class1")
    assert labels(out)[0] == {"class10": 1, "class2": 2}
    listing = find_set(numbers, class_order="natural").parts[0].open()
    write_corrupted(listing, "folder", tmp_path / "natural", corruptions=("fog",), severities=(1,))
    assert labels(tmp_path / "natural")[0] == {"class1": 0, "class2": 1, "class10": 2}
    first, second = (part.open().notes for part in find_set(out).parts)
    # Said once for all subsets.
    assert first == labels(numbers)[1]
    assert second == ()


def test_options_reach_the_folder(numbers: Path) -> None:
    (plain,) = open_data([str(numbers)], ReadOptions())
    assert plain.listing is not None
    assert plain.listing.class_names == ("class1", "class10", "class2")
    assert "--class-order natural" in plain.notes[0]
    (natural,) = open_data([str(numbers)], ReadOptions(class_order="natural"))
    assert natural.listing is not None
    assert (natural.listing.class_names, natural.notes) == (("class1", "class2", "class10"), [])
