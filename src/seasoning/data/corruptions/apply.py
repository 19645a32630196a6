"""The C version of any images: 15 common corruptions at 5 severities, for any size.

What happens to an image depends on its id, the seed and the corruption alone, not on the batch. The levels are the
published ones for 32 or for 224 pixels, whichever side is nearer to the image's shorter one. Two things differ from the
published sets, which were made with other programs: the texture of `frost` is made by code, and values are rounded, not
cut off. So the numbers on a C version made here are comparable with each other, not with published ones.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from seasoning.data.corruptions.kinds import KINDS
from seasoning.data.corruptions.severities import SEVERITIES, table_for
from seasoning.data.samples import Samples
from seasoning.errors import BadInput, UnknownName
from seasoning.noise import CORRUPTIONS, sample_generator


__all__ = ["CORRUPTIONS", "LEAST_SIDE", "LEVELS", "corrupt", "corrupted"]

LEVELS = (1, 2, 3, 4, 5)
# The published levels are lengths in pixels for images of 32: below a quarter of that some change nothing at all, as a
# zoom by a part of a pixel, or cannot be done.
LEAST_SIDE = 8
_CHUNK = 1 << 23  # values worked on at a time


def corrupt(images: Tensor, ids: Tensor, corruption: str, severity: int, *, seed: int = 0) -> Tensor:
    """Images under a common corruption.

    Args:
        images: `(N, C, H, W)` uint8, or floats in [0, 1]; of one or three channels, at least `LEAST_SIDE` pixels high
            and wide.
        ids: Sample ids, `(N,)`.
        corruption: A name from `CORRUPTIONS`.
        severity: From 1 to 5.
        seed: Seed of its random numbers; the same ones serve every severity.

    Returns:
        `(N, C, H, W)` uint8.

    Raises:
        UnknownName: there is no such corruption.
        BadInput: a severity or images out of range.

    Reference:
        Hendrycks & Dietterich 2019, *Benchmarking neural network robustness to common corruptions and perturbations*.
    """
    if corruption not in KINDS:
        raise UnknownName("corruption", corruption, CORRUPTIONS)
    if severity not in LEVELS:
        raise BadInput(f"severity {severity}: expected one of {', '.join(map(str, LEVELS))}")
    if images.dim() != 4 or images.shape[1] not in (1, 3) or len(ids) != len(images):
        given = f"images of shape {tuple(images.shape)} and {len(ids)} ids"
        raise BadInput(f"{given}: expected (N, C, H, W) of one or three channels, and an id for each")
    if min(images.shape[2:]) < LEAST_SIDE:
        height, width = images.shape[2:]
        raise BadInput(f"images of {width} x {height} pixels: corruptions want at least {LEAST_SIDE} on each side")
    level = SEVERITIES[table_for(*images.shape[2:])][corruption][severity - 1]
    size = max(1, _CHUNK // max(images[0].numel(), 1))
    parts = [
        _changed(part, numbers, corruption, level, seed)
        for part, numbers in zip(images.split(size), ids.split(size), strict=True)
    ]
    return torch.cat(parts)


def corrupted(samples: Samples, corruption: str, severity: int, *, seed: int = 0) -> Samples:
    """The data set under a corruption, as `"<data set>-c/<corruption>/<severity>"`; ids and labels stay."""
    x = corrupt(samples.x, samples.ids, corruption, severity, seed=seed)
    return replace(samples, name=f"{samples.name}-c/{corruption}/{severity}", x=x)


def _changed(images: Tensor, ids: Tensor, corruption: str, level: object, seed: int) -> Tensor:
    pixels = images.cpu().numpy()
    x = pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    draws = [sample_generator(sample, seed=seed, purpose=corruption, restart=0) for sample in ids.tolist()]
    changed = KINDS[corruption](x, draws, level)
    return torch.from_numpy(np.rint(changed.clip(0, 1) * 255).astype(np.uint8))
