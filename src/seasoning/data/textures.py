"""Textures made by code: the wisps of fog and the crystals of frost."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


__all__ = ["frost_texture", "plasma"]

_FROST_TIMES = 4  # side of a frost texture, in sides of the image
_NEEDLES = 5  # directions in which crystals grow


def plasma(draws: Sequence[np.random.Generator], side: int, decay: float) -> NDArray[np.float32]:
    """Height maps of the diamond-square algorithm on a torus, scaled to [0, 1].

    Args:
        draws: One stream of random numbers for each map.
        side: Least side; the maps have the next power of two.
        decay: Root of the divisor of the wobble from one scale to the next finer one, as published.

    Returns:
        `(N, S, S)`.
    """
    size = 1 << max(side - 1, 1).bit_length()
    numbers = np.stack([draw.uniform(-1, 1, size * size) for draw in draws])
    heights = np.zeros((len(numbers), size, size))
    used, step, wobble = 0, size, 1.0

    def settled(mean: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal used
        count = mean[0].size
        wobbles = numbers[:, used : used + count].reshape(mean.shape)
        used += count
        return mean + wobble * wobbles

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        heights[:, half::step, half::step] = settled((pairs + np.roll(pairs, -1, axis=2)) / 4)
        middles = heights[:, half::step, half::step]
        across = middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=2)
        heights[:, ::step, half::step] = settled(across / 4)
        down = middles + np.roll(middles, 1, axis=2) + corners + np.roll(corners, -1, axis=1)
        heights[:, half::step, ::step] = settled(down / 4)
        step, wobble = half, wobble / decay**2
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return np.asarray(heights / heights.max(axis=(1, 2), keepdims=True), dtype=np.float32)


@lru_cache(maxsize=16)
def frost_texture(number: int, side: int) -> NDArray[np.float32]:
    """Ice crystals on glass, `(3, S, S)` in [0, 1]; the same for a number and a side on every machine.

    Feathers are the ridges of a height map that is stretched along a few directions; a coarser map thins them out.
    """
    draw = np.random.Generator(np.random.Philox(key=number, counter=[0, 0, 0, side]))
    ground = plasma([draw], _FROST_TIMES * side, 1.7)[0]
    size = len(ground)
    rows, columns = np.mgrid[:size, :size]
    feathers = np.zeros_like(ground)
    for angle in np.pi * (np.arange(_NEEDLES) + draw.uniform(0, 1, _NEEDLES)) / _NEEDLES:
        map_ = plasma([draw], size, 1.4)[0]
        along = rows * np.sin(angle) + columns * np.cos(angle)
        across = (columns * np.sin(angle) - rows * np.cos(angle)) * 4
        stretched = map_[along.astype(int) % size, across.astype(int) % size]
        ridges = 1 - np.abs(2 * stretched - 1)
        feathers = np.maximum(feathers, ridges**6 * (0.4 + 0.6 * draw.random()))
    ice = np.clip(0.25 + 0.45 * ground + 0.6 * feathers * np.clip(1.6 * ground, 0, 1), 0, 1)
    tint = np.array([0.88, 0.95, 1.0])[:, None, None]
    return np.asarray(ice * tint, dtype=np.float32)
