"""Noise that is the same for a sample whatever batch, part of a batch or process it is met in.

When models are measured, the numbers of one sample come from the Philox generator (Salmon et al., 2011, *Parallel
random numbers: as easy as 1, 2, 3*), keyed by `(seed, sample id)` and counted by `(purpose, restart)`. Nothing is
shared between samples, so the order and the size of batches cannot matter, nor can the device.

In training, where numbers are wanted at once and on the device, every row of a batch has a seed of its own. They are
in arithmetic progression, so that the rows from `a` on draw from `derived_seed(seed, a)` what they draw in the whole
batch: nothing but a seed goes to the part, or to the process, that takes them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor


__all__ = [
    "CORRUPTIONS",
    "PURPOSES",
    "USES",
    "Kind",
    "derived_seed",
    "epoch_seed",
    "row_noise",
    "sample_generator",
    "sample_noise",
    "use_seed",
]

Kind = Literal["uniform", "normal"]
# One independent stream for each use of noise; numbers are never reused, so that results stay comparable.
PURPOSES = {"attack start": 0, "noise": 1, "rotation": 2, "occlusion": 3}
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
PURPOSES |= {name: 64 + index for index, name in enumerate(CORRUPTIONS)}
_WORD = (1 << 64) - 1
_LARGEST_SEED = (1 << 62) - 1
# The golden ratio of 64 bits: its multiples lie far apart, so that no use of a seed repeats another one.
_APART = 0x9E3779B97F4A7C15
# Uses of the rows of a training batch; the attacks of its threats have the numbers before them.
USES: Mapping[str, int] = {"targets": 64, "layers": 65, "crops": 66, "mixtures": 67}
# More than there are rows in a batch.
_ROWS = 1 << 40


def sample_noise(
    ids: Tensor, shape: tuple[int, ...], *, kind: Kind, seed: int, purpose: str, restart: int, dtype: torch.dtype
) -> Tensor:
    """Noise of the given shape for every sample id, on the device of `ids`.

    Args:
        ids: Sample ids, `(B,)`, integers.
        shape: Shape of the noise of one sample, such as `(C, H, W)`.
        kind: `"uniform"` on [-1, 1) or `"normal"` with unit variance.
        seed: Seed of the whole measurement.
        purpose: A key of `PURPOSES`.
        restart: Number of the draw, from 0.
        dtype: Type of the result; the numbers are drawn in float64 and rounded.

    Returns:
        `(B, *shape)`.
    """
    rows = np.empty((len(ids), *shape))
    for row, sample in zip(rows, ids.tolist(), strict=True):
        generator = sample_generator(sample, seed=seed, purpose=purpose, restart=restart)
        row[...] = generator.uniform(-1.0, 1.0, shape) if kind == "uniform" else generator.standard_normal(shape)
    return torch.from_numpy(rows).to(device=ids.device, dtype=dtype)


def sample_generator(sample: int, *, seed: int, purpose: str, restart: int) -> np.random.Generator:
    """The stream of one sample id for one purpose; `restart` counts its draws from 0."""
    key = np.array([seed & _WORD, sample & _WORD], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, PURPOSES[purpose], restart]))


def row_noise(
    rows: Sequence[int], shape: tuple[int, ...], *, kind: Kind, seed: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Noise of the given shape for rows of a batch of training images, drawn on a device.

    Args:
        rows: Their numbers, from 0.
        shape: Shape of the noise of one row.
        kind: `"uniform"` on [-1, 1) or `"normal"` with unit variance.
        seed: Seed of the batch, or of a part of it: `derived_seed(seed, row)` is that of a row.
        dtype: Type of the result.
        device: Where it is drawn; devices draw different numbers.

    Returns:
        `(len(rows), *shape)`.
    """
    generator, noise = torch.Generator(device), torch.empty((len(rows), *shape), dtype=dtype, device=device)
    for row, each in zip(rows, noise, strict=True):
        generator.manual_seed(derived_seed(seed, row))
        if kind == "uniform":
            each.uniform_(-1, 1, generator=generator)
        else:
            each.normal_(generator=generator)
    return noise


def derived_seed(seed: int, index: int) -> int:
    """A seed for one of several uses of a seed, such as the rows of a batch; index 0 is the seed itself.

    Uses add up: the seed of row 2 from the seed of row 3 on is that of row 5.
    """
    return (seed + index * _APART) % _LARGEST_SEED


def use_seed(seed: int, use: int) -> int:
    """A seed for another use of all rows of a batch, such as one of `USES`; use 0 is the seed itself.

    No row of one use has the seed of any row of another, and those of parts of a batch add up as in `derived_seed`.
    """
    return derived_seed(seed, use * _ROWS)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed that the orders and the steps of an epoch (from 0) are drawn from."""
    return (seed * 1_000_003 + epoch) % _LARGEST_SEED
