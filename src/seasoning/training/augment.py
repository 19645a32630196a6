"""Random crops and flips of a whole batch at once."""

import torch
from torch import Tensor
from torch.nn import functional


__all__ = ["crop_and_flip"]


def crop_and_flip(x: Tensor, crop: int, flips: bool, generator: torch.Generator) -> Tensor:
    """Every image moved by up to `crop` pixels in each direction, black moving in, and half of them mirrored.

    Args:
        x: Images, `(B, C, H, W)`.
        crop: Pixels; 0 leaves the images as they are.
        flips: Whether to mirror.
        generator: Where the random numbers come from.
    """
    if not crop and not flips:
        return x
    count, channels, height, width = x.shape
    columns = torch.arange(width).expand(count, width)
    if flips:
        mirrored = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    top, left = torch.randint(2 * crop + 1, (2, count, 1), generator=generator)
    rows, columns = torch.arange(height) + top, columns + left
    # One look-up in the flattened images does both.
    padded = functional.pad(x, (crop, crop, crop, crop))
    indices = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(count, 1, -1)
    return padded.flatten(2).gather(2, indices.expand(-1, channels, -1)).view(x.shape)
