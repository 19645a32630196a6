import hashlib

import pytest
import torch

from seasoning.data import SHIFTS, Samples, apply_shift, load_source, split_samples
from seasoning.errors import BadInput, UnknownName


SIZES = {"train": 900, "validation": 200, "selection": 300, "test": 397}


def test_digits_are_what_they_should_be() -> None:
    digits = load_source("digits")
    assert (tuple(digits.x.shape), digits.classes) == ((1797, 1, 8, 8), 10)
    assert (float(digits.x.min()), float(digits.x.max())) == (0.0, 1.0)
    assert digits.y[:5].tolist() == [0, 1, 2, 3, 4]


def test_parts_share_no_image_and_never_change() -> None:
    parts = split_samples(load_source("digits"), SIZES)
    assert {name: len(part) for name, part in parts.items()} == SIZES
    ids = torch.cat([part.ids for part in parts.values()])
    assert sorted(ids.tolist()) == list(range(1797))
    # Written down once: the split is part of every published number.
    text = ",".join(map(str, parts["test"].ids.tolist()))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "1acd7449c29df844"


def test_a_split_depends_on_ids_alone() -> None:
    digits = load_source("digits")
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    straight, shuffled = split_samples(digits, SIZES), split_samples(digits.take(order, "digits"), SIZES)
    for name in SIZES:
        assert set(straight[name].ids.tolist()) == set(shuffled[name].ids.tolist())


def test_asking_for_too_many_is_refused() -> None:
    with pytest.raises(BadInput, match="more than its 1797"):
        split_samples(load_source("digits"), {"train": 1797, "test": 1})


def test_batches_hold_everything_once(few: Samples) -> None:
    samples = Samples("few", few.ids, few.x, few.y, 10, batch_size=16)
    batches = list(samples)
    assert [len(batch.ids) for batch in batches] == [16, 16, 8]
    assert torch.equal(torch.cat([batch.x for batch in batches]), few.x)


@pytest.mark.parametrize(("side", "together"), [(8, 500), (32, 500), (224, 55), (4096, 1)])
def test_unless_told_otherwise_batches_are_small_in_memory(side: int, together: int) -> None:
    x = torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(1200, 3, side, side)
    samples = Samples("many", torch.arange(1200), x, torch.zeros(1200, dtype=torch.int64), 10)
    assert len(next(iter(samples)).ids) == together
    if side == 32:
        assert [len(batch.ids) for batch in samples] == [500, 500, 200]


def test_fingerprints_see_every_column(few: Samples) -> None:
    x = few.x.clone()
    x[3, 0, 2, 2] += 1e-3
    others = [
        Samples("few", few.ids, x, few.y, 10),
        Samples("few", few.ids + 1, few.x, few.y, 10),
        Samples("few", few.ids, few.x, few.y.roll(1), 10),
    ]
    assert len({each.fingerprint() for each in [few, *others]}) == 4
    assert Samples("other name", few.ids, few.x, few.y, 10).fingerprint() == few.fingerprint()


def test_columns_of_different_lengths_are_refused(few: Samples) -> None:
    with pytest.raises(BadInput, match="give as many"):
        Samples("few", few.ids[:3], few.x, few.y, 10)


@pytest.mark.parametrize("shift", SHIFTS)
def test_shifts_change_images_and_nothing_else(few: Samples, shift: str) -> None:
    shifted = apply_shift(few, shift)
    assert shifted.name == f"digits/few/{shift}"
    assert shifted.x.shape == few.x.shape
    assert torch.equal(shifted.ids, few.ids)
    assert torch.equal(shifted.y, few.y)
    assert float(shifted.x.min()) >= 0
    assert float(shifted.x.max()) <= 1
    # A square may hide nothing but background.
    assert float((shifted.x != few.x).flatten(1).any(1).float().mean()) > 0.9


@pytest.mark.parametrize("shift", SHIFTS)
def test_shifts_do_not_depend_on_the_batch(few: Samples, shift: str) -> None:
    rows = torch.tensor([7, 3, 21])
    alone = apply_shift(few.take(rows, few.name), shift)
    torch.testing.assert_close(alone.x, apply_shift(few, shift).x[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", ["noise", "rotation", "occlusion"])
def test_random_shifts_follow_their_seed(few: Samples, shift: str) -> None:
    assert torch.equal(apply_shift(few, shift, seed=4).x, apply_shift(few, shift, seed=4).x)
    assert not torch.equal(apply_shift(few, shift, seed=4).x, apply_shift(few, shift, seed=5).x)


def test_shifts_do_what_their_names_say() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 0.3 + 0.4 * torch.rand(400, 1, 10, 10, generator=generator)
    samples = Samples("made", torch.arange(400), x, torch.zeros(400, dtype=torch.int64), 2)
    shifted = {name: apply_shift(samples, name).x for name in SHIFTS}
    assert float((shifted["noise"] - x).mean().abs()) < 0.01
    assert float(shifted["blur"].std()) < 0.5 * float(x.std())
    torch.testing.assert_close(shifted["contrast"].mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(shifted["contrast"].std((1, 2, 3)), 0.2 * x.std((1, 2, 3)))
    hidden = (shifted["occlusion"] == 0).flatten(1).sum(1)
    assert hidden.tolist() == [16] * 400
    # Every corner is hidden at some time: the square roams the whole image.
    corners = shifted["occlusion"][:, 0, [0, 0, -1, -1], [0, -1, 0, -1]] == 0
    assert bool(corners.any(0).all())
    # A quarter of a turn's corner leaves the frame and is black.
    assert bool((shifted["rotation"][:, 0, [0, -1], [0, -1]] < 0.2).all())


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        load_source("digit")
    with pytest.raises(UnknownName, match="did you mean 'contrast'"):
        apply_shift(load_source("digits"), "contrst")
