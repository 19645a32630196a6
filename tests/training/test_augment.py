"""What images and labels become before they are trained on: views of photographs, mixtures, soft labels."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.mixup import Mixup, mixup_target
from torchvision.transforms.functional import pil_to_tensor

from seasoning.training.augment import Mixture, PhotoView, RandAugment, _transforms, mixed, soft_labels


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 8, 6, generator=generator), torch.arange(count) % 5


class Draws:
    """Stands for a generator of numpy: says what it is told."""

    def __init__(self, share: float, centre: Sequence[int]) -> None:
        self._share, self._centre = share, iter(centre)

    def random(self) -> float:
        return 0.0

    def beta(self, one: float, other: float) -> float:
        return self._share

    def integers(self, side: int) -> int:
        return next(self._centre)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixture", [Mixture(mixup=0.8), Mixture(cutmix=1.0)])
@pytest.mark.parametrize("centre", [(3, 2), (0, 5), (7, 0)])
def test_mixtures_are_those_of_timm(
    monkeypatch: pytest.MonkeyPatch, mixture: Mixture, smoothing: float, centre: tuple[int, int]
) -> None:
    x, y = batch()
    monkeypatch.setattr("numpy.random.default_rng", lambda seed: Draws(0.3, centre))
    found, labels = mixed(x, soft_labels(y, 5, smoothing, x.dtype), mixture, 0)
    places = iter(centre)
    monkeypatch.setattr("numpy.random.rand", lambda: 0.0)
    monkeypatch.setattr("numpy.random.beta", lambda one, other: 0.3)
    monkeypatch.setattr("numpy.random.randint", lambda low, high, size=None: next(places))
    reference = Mixup(mixture.mixup, mixture.cutmix, label_smoothing=smoothing, num_classes=5)
    wanted, targets = reference(x.clone(), y)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert torch.allclose(labels, targets, atol=1e-6)
    assert torch.allclose(soft_labels(y, 5, smoothing, x.dtype), mixup_target(y, 5, 1.0, smoothing))


@pytest.mark.parametrize("count", [1, 5, 6])
def test_a_label_says_how_much_of_an_image_is_whose(count: int) -> None:
    _, y = batch(count)
    # Every image is all of one value, that of its class.
    x = y.view(-1, 1, 1, 1).expand(-1, 1, 8, 8).double()
    values = torch.arange(5, dtype=torch.float64)
    for mixture in (Mixture(mixup=0.8), Mixture(cutmix=1.0), Mixture(0.8, 1.0)):
        for seed in range(20):
            found, labels = mixed(x, soft_labels(y, 5, 0.0, x.dtype), mixture, seed)
            assert torch.allclose(labels.sum(1), torch.ones(count, dtype=x.dtype))
            assert torch.allclose(found.mean((1, 2, 3)), labels @ values)


def test_batches_are_mixed_by_either_way_with_even_odds_and_follow_their_seed() -> None:
    y = torch.tensor([0, 4])
    x = y.view(-1, 1, 1, 1).expand(-1, 1, 8, 8).float()
    labels = soft_labels(y, 5, 0.0, x.dtype)
    found = [mixed(x, labels, Mixture(0.8, 1.0), seed) for seed in range(200)]
    # Mixup leaves an image of one value so; CutMix does, too, where its box is empty or all of the image.
    cut = sum(len(images[0].unique()) > 1 for images, _ in found)
    assert 70 <= cut <= 115
    again = mixed(x, labels, Mixture(0.8, 1.0), 7)
    assert all(torch.equal(one, other) for one, other in zip(found[7], again, strict=True))
    same, untouched = mixed(x, labels, Mixture(smoothing=0.1), 0)
    assert same is x
    assert untouched is labels
    assert x.tolist() == y.view(-1, 1, 1, 1).expand(-1, 1, 8, 8).float().tolist(), "the images given are left alone"


def photograph() -> Image.Image:
    generator = np.random.default_rng(0)
    return Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8))


FULL = RandAugment(2, 9, 0.5)


def test_a_view_follows_its_seed_and_leaves_all_generators_as_they_were() -> None:
    view = PhotoView((16, 12), (0.08, 1.0), True, FULL)
    image, before = photograph(), (random.getstate(), str(np.random.get_state()), torch.get_rng_state())
    found = [view(image, seed) for seed in range(30)]
    assert before[0] == random.getstate()
    assert before[1] == str(np.random.get_state())
    assert torch.equal(before[2], torch.get_rng_state())
    assert {(each.shape, each.dtype) for each in found} == {(torch.Size([3, 16, 12]), torch.uint8)}
    assert torch.equal(view(image, 3), found[3])
    assert len({each.numpy().tobytes() for each in found}) == 30


def test_half_of_the_views_are_mirrored() -> None:
    image = photograph().crop((0, 0, 16, 16))
    plain = pil_to_tensor(image)
    # All of a square image, at its own size: nothing is left to chance but the side.
    view = PhotoView((16, 16), (1.0, 1.0), True, None)
    found = [view(image, seed) for seed in range(100)]
    whole = [each for each in found if torch.equal(each, plain)]
    mirrored = [each for each in found if torch.equal(each, plain.flip(2))]
    assert len(mirrored) >= 25
    assert len(whole) >= 25
    never = PhotoView((16, 16), (1.0, 1.0), False, None)
    assert not any(torch.equal(never(image, seed), plain.flip(2)) for seed in range(30))


def test_randaugment_is_that_of_timm_with_the_numbers_given() -> None:
    crop, augment = _transforms(PhotoView((224, 224), (0.08, 1.0), True, FULL))
    assert (crop.size, crop.scale) == ((224, 224), (0.08, 1.0))
    assert crop.ratio == pytest.approx((3 / 4, 4 / 3))
    assert augment.num_layers == 2
    assert {(each.magnitude, each.prob) for each in augment.ops} == {(9, 0.5)}
