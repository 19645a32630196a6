"""Natural shifts of any data set: the same images under conditions that the ingredients were not made for.

Each is a pure function of the images and the sample ids, so a shifted image does not depend on its batch. Severities
were set on the validation split of the digits.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from seasoning.data.samples import Samples
from seasoning.errors import UnknownName
from seasoning.noise import sample_noise


__all__ = ["SHIFTS", "apply_shift"]

_NOISE_SIGMA = 0.35
_BLUR_SIGMA = 1.0
_CONTRAST = 0.2
_ROTATION_DEGREES = 25.0
_OCCLUDED_SHARE = 0.4  # of the side
_PIECE = 500  # images shifted at a time


def _draw(x: Tensor, ids: Tensor, seed: int, shift: str, count: int) -> Tensor:
    """Uniform numbers in [-1, 1) for each sample, `(B, count)`."""
    return sample_noise(ids, (count,), kind="uniform", seed=seed, purpose=shift, restart=0, dtype=x.dtype)


def noise(x: Tensor, ids: Tensor, seed: int) -> Tensor:
    """Gaussian noise of standard deviation 0.35."""
    draws = sample_noise(ids, tuple(x.shape[1:]), kind="normal", seed=seed, purpose="noise", restart=0, dtype=x.dtype)
    return (x + _NOISE_SIGMA * draws).clamp(0, 1)


def blur(x: Tensor, ids: Tensor, seed: int) -> Tensor:
    """Gaussian blur of standard deviation 1.0 pixels."""
    size = 2 * math.ceil(2 * _BLUR_SIGMA) + 1
    blurred: Tensor = functional.gaussian_blur(x, [size, size], [_BLUR_SIGMA, _BLUR_SIGMA])
    return blurred.clamp(0, 1)


def contrast(x: Tensor, ids: Tensor, seed: int) -> Tensor:
    """Contrast cut to 0.2 around the mean of each image."""
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + _CONTRAST * (x - mean)).clamp(0, 1)


def rotation(x: Tensor, ids: Tensor, seed: int) -> Tensor:
    """Rotation by 25 degrees, to a side drawn for each sample."""
    left = _draw(x, ids, seed, "rotation", 1).squeeze(1) < 0
    turned = [
        functional.rotate(
            image, _ROTATION_DEGREES if side else -_ROTATION_DEGREES, functional.InterpolationMode.BILINEAR
        )
        for image, side in zip(x, left.tolist(), strict=True)
    ]
    return torch.stack(turned).clamp(0, 1)


def occlusion(x: Tensor, ids: Tensor, seed: int) -> Tensor:
    """A black square over 0.4 of the side, at a position drawn for each sample."""
    height, width = x.shape[2:]
    size = round(_OCCLUDED_SHARE * min(height, width))
    position = (_draw(x, ids, seed, "occlusion", 2) + 1) / 2
    top, left = (position[:, 0] * (height - size + 1)).long(), (position[:, 1] * (width - size + 1)).long()
    rows, columns = torch.arange(height), torch.arange(width)
    hidden_rows = (rows >= top[:, None]) & (rows < top[:, None] + size)
    hidden_columns = (columns >= left[:, None]) & (columns < left[:, None] + size)
    return x.masked_fill((hidden_rows[:, :, None] & hidden_columns[:, None, :])[:, None], 0)


SHIFTS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "rotation": rotation,
    "occlusion": occlusion,
}


def apply_shift(samples: Samples, shift: str, *, seed: int = 0) -> Samples:
    """The data set under a named shift, as `"<data set>/<shift>"`; ids, labels and the kind of the numbers stay.

    Raises:
        UnknownName: there is no such shift.
    """
    if shift not in SHIFTS:
        raise UnknownName("shift", shift, SHIFTS)
    x = torch.empty_like(samples.x)
    # Piece by piece: 8 bits a value become 32 on the way.
    for begin in range(0, len(samples), _PIECE):
        rows = slice(begin, begin + _PIECE)
        made = SHIFTS[shift](samples.images(rows), samples.ids[rows], seed)
        x[rows] = (made * 255).round().to(torch.uint8) if x.dtype == torch.uint8 else made
    return replace(samples, name=f"{samples.name}/{shift}", x=x)
