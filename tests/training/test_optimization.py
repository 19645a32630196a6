"""Rates over time, and what becomes of images."""

from dataclasses import replace

import pytest
import torch

from seasoning.training.augment import crop_and_flip
from seasoning.training.optimization import batch_sizes, cosine_rate, rate_fraction, step_rate
from tests.make import training_settings


@pytest.mark.parametrize("size", [1, 2, 5, 64, 200])
@pytest.mark.parametrize("images", [1, 2, 64, 65, 129, 191])
def test_every_image_is_in_a_batch_and_none_alone_unless_asked(images: int, size: int) -> None:
    sizes = batch_sizes(images, size)
    assert sum(sizes) == images
    assert all(each == size for each in sizes[:-1])
    assert 0 < sizes[-1] <= size + 1
    assert 1 not in sizes or size == 1 or images == 1


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [cosine_rate(step, 100, 0.1) for step in range(100)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == rates[10] == 1.0
    assert rates[0] == pytest.approx(1 / 11)
    assert 0 < rates[-1] < 0.001
    assert cosine_rate(0, 10, 0.0) == 1.0


def test_a_stepped_rate_falls_at_its_milestones() -> None:
    settings = replace(training_settings(0.1), schedule="step", milestones=(100, 150), warmup=0.0)
    shares = [rate_fraction(settings, epoch * 7, 7, 200) for epoch in range(200)]
    assert shares == pytest.approx([1.0] * 100 + [0.1] * 50 + [0.01] * 50)
    assert rate_fraction(settings, 100 * 7 - 1, 7, 200) == 1.0
    assert [step_rate(step, 40, 0.1, [20], 0.5) for step in (0, 3, 4, 19, 20)] == [0.2, 0.8, 1.0, 1.0, 0.5]


def test_crops_and_flips_are_those_of_each_image_alone() -> None:
    x = torch.rand(40, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    moved = crop_and_flip(x, 2, True, torch.Generator().manual_seed(1))
    found = set()
    for image, after in zip(x, moved, strict=True):
        padded = torch.zeros(3, 10, 9)
        padded[:, 2:8, 2:7] = image
        matches = []
        for top in range(5):
            for left in range(5):
                window = padded[:, top : top + 6, left : left + 5]
                matches += [
                    (top, left, way) for way in (False, True) if torch.equal(after, window.flip(2) if way else window)
                ]
        assert len(matches) == 1
        found |= set(matches)
    # Every offset and both sides occur.
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(5))
    assert {way for _, _, way in found} == {False, True}


def test_crops_and_flips_follow_their_generator_and_can_be_left_out() -> None:
    x = torch.rand(8, 1, 8, 8)
    one, same, other = (crop_and_flip(x, 1, True, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert crop_and_flip(x, 0, False, torch.Generator()) is x
    flipped = crop_and_flip(x, 0, True, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True))
