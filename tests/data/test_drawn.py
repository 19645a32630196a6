"""Images drawn in place of all: the same ones every time, fewer among more, and not those by which a search chooses."""

import numpy as np
import pytest

from seasoning.commands.search_data import selection_order
from seasoning.data.drawn import drawn
from seasoning.errors import BadInput


IDS = np.arange(500, 900)
LABELS = np.where(np.arange(400) % 8 == 0, 2, 0)
NAMES = ("cat", "dog", "owl")


def ids_of(images: int | None, shots: int = 0, seed: int = 0, ids: np.ndarray = IDS) -> set[int]:
    labels = LABELS[ids - 500]
    return set(ids[drawn("pets", ids, labels, NAMES, images=images, shots=shots, seed=seed)].tolist())


def test_more_images_take_in_fewer_and_the_order_of_the_files_says_nothing() -> None:
    assert ids_of(20) < ids_of(60) < ids_of(400) == set(IDS.tolist())
    assert ids_of(20) == ids_of(20, ids=IDS[::-1])
    rows = drawn("pets", IDS, LABELS, NAMES, images=20, shots=0, seed=0)
    assert rows == sorted(rows)
    # What else there is does not move an image: of a set without some of them the others stay drawn.
    rest = IDS[~np.isin(IDS, sorted(ids_of(20))[:5])]
    assert sorted(ids_of(20))[5:] == sorted(ids_of(15, ids=rest))


def test_another_seed_draws_others_and_a_search_chose_by_others() -> None:
    assert ids_of(40) != ids_of(40, seed=1)
    chosen = set(selection_order(IDS.tolist())[:40].tolist())
    # About a tenth of them by chance.
    assert len(ids_of(40) & chosen) < 15


def test_so_many_of_each_class_that_has_images() -> None:
    few, more = ids_of(None, 3), ids_of(None, 50)
    assert few < more
    assert np.bincount(LABELS[np.array(sorted(few)) - 500], minlength=3).tolist() == [3, 0, 3]
    assert np.bincount(LABELS[np.array(sorted(more)) - 500], minlength=3).tolist() == [50, 0, 50]


def test_more_than_there_are_is_refused_with_how_many_there_are() -> None:
    with pytest.raises(BadInput, match=r"pets has 400 images, 1,000 are asked for: give at most --images 400"):
        ids_of(1000)
    with pytest.raises(
        BadInput, match=r"50 images of class 'owl', 51 of each class .* at most --shots 50, or .*images"
    ):
        ids_of(None, 51)
