"""Textures made by code: the wisps of fog and the crystals of frost."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage


__all__ = ["frost_texture", "plasma"]

_SIZE = 1024  # of the frost textures before they are brought to the size of the image
_FROST_TIMES = 4  # side of a frost texture, in sides of the image
_NEEDLES = 24  # crystals on a square of the image's side


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
    used = 0
    step, wobble = size, 1.0

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
    """Ice crystals on glass, `(3, S, S)` in [0, 1] for images of a side; the same for both on every machine."""
    size = _FROST_TIMES * side
    picture = Image.fromarray(_crystals(number))
    reduced = np.asarray(
        picture.resize((size, size), Image.Resampling.BOX if size < _SIZE else Image.Resampling.BICUBIC)
    )
    tint = np.array([0.9, 0.96, 1.0])[:, None, None]
    return np.asarray(reduced.clip(0, 1) * tint, dtype=np.float32)


@lru_cache(maxsize=5)
def _crystals(number: int) -> NDArray[np.float32]:
    """Needles that grow straight from scattered seeds, with barbs at sixty degrees as ice has, `(1024, 1024)`.

    A blurred copy lies below them, and a coarse height map thins both out.
    """
    draw = np.random.Generator(np.random.Philox(key=number))
    ground = plasma([draw], _SIZE, 1.5)[0]
    side = _SIZE / _FROST_TIMES
    ice = np.zeros((_SIZE, _SIZE), dtype=np.float32)
    for _ in range(_NEEDLES * _FROST_TIMES**2):
        start, angle = draw.uniform(0, _SIZE, 2), draw.uniform(0, 2 * np.pi)
        length, brightness = side * draw.uniform(0.2, 0.9), draw.uniform(0.4, 1)
        _grow(ice, start, angle, length, brightness)
        for fraction in np.arange(0.1, 0.9, 0.1):
            joint = start + fraction * length * np.array([np.sin(angle), np.cos(angle)])
            for turn in (-np.pi / 3, np.pi / 3):
                _grow(ice, joint, angle + turn, 0.35 * length * (1 - fraction), 0.8 * brightness)
    value = 0.1 + 0.25 * ground
    for spread, weight in ((12.0, 0.35), (1.5, 0.75)):
        blurred = ndimage.gaussian_filter(ice, spread, mode="wrap")
        value += weight * np.clip(1.8 * ground, 0.15, 1) * (blurred / np.quantile(blurred, 0.99))
    return np.asarray(value, dtype=np.float32)


def _grow(ice: NDArray[np.float32], start: NDArray[np.float64], angle: float, length: float, brightness: float) -> None:
    """A straight needle, thinner and paler towards its tip, around the edges of the texture."""
    along = np.arange(0, length, 0.5)
    rows = (start[0] + along * np.sin(angle)).astype(int) % len(ice)
    columns = (start[1] + along * np.cos(angle)).astype(int) % len(ice)
    pale = (brightness * (1 - 0.7 * along / max(length, 1))).astype(np.float32)
    ice[rows, columns] = np.maximum(ice[rows, columns], pale)
