"""What images become before they are trained on: crops and flips, the views of photographs, mixtures of two.

Sources: Szegedy et al. 2015, *Going deeper with convolutions*, for crops of a random size; Cubuk et al. 2020,
*RandAugment*; Zhang et al. 2018, *mixup*; Yun et al. 2019, *CutMix*; Szegedy et al. 2016, *Rethinking the Inception
architecture*, for smoothed labels.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import pil_to_tensor

from seasoning.noise import row_noise


__all__ = ["Mixture", "PhotoView", "RandAugment", "crop_and_flip", "mixed", "soft_labels"]

# The grey that RandAugment fills with and how far it moves an image at most, as timm's recipes have it.
_FILL = (124, 116, 104)
_FARTHEST = 0.45


class RandAugment(NamedTuple):
    """Layers of operations drawn for every image.

    Args:
        layers: How many are drawn.
        magnitude: How strong they are, 0 to 10.
        probability: How likely each of those drawn takes place.
    """

    layers: int
    magnitude: int
    probability: float


@dataclass(frozen=True, slots=True)
class PhotoView:
    """A random view of a photograph, as timm makes it; the same for the same seed.

    Args:
        size: Height and width of the result.
        scale: Range of the share of the area that is cut out.
        flips: Whether half of the views are mirrored.
        randaugment: What is done to the colours and the geometry besides.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    flips: bool
    randaugment: RandAugment | None

    def __call__(self, image: Image.Image, seed: int) -> Tensor:
        """An RGB image as `(3, H, W)` uint8 of that size."""
        crop, augment = _transforms(self)
        with _seeded(seed):
            view = crop(image)
            if self.flips and random.random() < 0.5:
                view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            pixels: Tensor = pil_to_tensor(view if augment is None else augment(view))
            return pixels


@cache
def _transforms(view: PhotoView) -> tuple[Any, Any]:
    crop = RandomResizedCropAndInterpolation(view.size, scale=view.scale, interpolation="bicubic")
    if view.randaugment is None:
        return crop, None
    asked = view.randaugment
    words = f"rand-m{asked.magnitude}-n{asked.layers}-p{asked.probability}"
    farthest = int(_FARTHEST * min(view.size))
    bicubic = Image.Resampling.BICUBIC
    return crop, rand_augment_transform(
        words, {"translate_const": farthest, "img_mean": _FILL, "interpolation": bicubic}
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The generators that timm draws from, seeded, and then as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def crop_and_flip(x: Tensor, crop: int, flips: bool, seed: int) -> Tensor:
    """Every image moved by up to `crop` pixels in each direction, black moving in, and half of them mirrored.

    Args:
        x: Images, `(B, C, H, W)`.
        crop: Pixels; 0 leaves the images as they are.
        flips: Whether to mirror.
        seed: Seed of the batch, or of a part of it, as in `row_noise`.
    """
    if not crop and not flips:
        return x
    count, channels, height, width = x.shape
    draws = row_noise(range(count), (3,), kind="uniform", seed=seed, dtype=torch.float32, device=x.device)
    columns = torch.arange(width).expand(count, width)
    if flips:
        columns = torch.where(draws[:, :1] < 0, columns.flip(1), columns)
    top, left = ((draws[:, 1:] + 1) / 2 * (2 * crop + 1)).long().clamp_max(2 * crop).T[:, :, None]
    rows, columns = torch.arange(height) + top, columns + left
    # One look-up in the flattened images does both.
    padded = functional.pad(x, (crop, crop, crop, crop))
    indices = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(count, 1, -1)
    return padded.flatten(2).gather(2, indices.expand(-1, channels, -1)).view(x.shape)


class Mixture(NamedTuple):
    """How images and labels of a batch are mixed and softened.

    Args:
        mixup: Parameter of the Beta distribution of mixup's shares; 0 for no mixup.
        cutmix: That of CutMix; of batches with both, half are mixed by each.
        smoothing: Part of every label that is spread evenly over all classes.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0


def soft_labels(y: Tensor, classes: int, smoothing: float, dtype: torch.dtype) -> Tensor:
    """Classes `(B,)` as smoothed labels `(B, K)`, each of which sums to 1."""
    return functional.one_hot(y, classes).to(dtype) * (1 - smoothing) + smoothing / classes


def mixed(x: Tensor, labels: Tensor, mixture: Mixture, seed: int) -> tuple[Tensor, Tensor]:
    """A batch whose images and labels are mixed with those of the same batch in the reverse order.

    As timm does, one share and one way, mixup or CutMix, are drawn for the whole batch.

    Args:
        x: Images, `(B, C, H, W)`.
        labels: `(B, K)`.
        mixture: How they are mixed.
        seed: Seed of what is drawn.
    """
    if not mixture.mixup and not mixture.cutmix:
        return x, labels
    draws = np.random.default_rng(seed)
    cut = bool(mixture.cutmix) and (not mixture.mixup or draws.random() < 0.5)
    strength = mixture.cutmix if cut else mixture.mixup
    own = float(draws.beta(strength, strength))
    if cut:
        # A box of that share of the area around a point anywhere: what lies outside the image is lost to the share.
        sides = [int(side * (1 - own) ** 0.5) for side in x.shape[2:]]
        centres = [int(draws.integers(side)) for side in x.shape[2:]]
        (top, bottom), (left, right) = (
            (max(centre - side // 2, 0), min(centre + (side + 1) // 2, whole))
            for centre, side, whole in zip(centres, sides, x.shape[2:], strict=True)
        )
        own = 1 - (bottom - top) * (right - left) / (x.shape[2] * x.shape[3])
        x = x.clone()
        x[:, :, top:bottom, left:right] = x.flip(0)[:, :, top:bottom, left:right]
    else:
        x = own * x + (1 - own) * x.flip(0)
    return x, own * labels + (1 - own) * labels.flip(0)
