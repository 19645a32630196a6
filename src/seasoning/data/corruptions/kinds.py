"""The 15 common corruptions of Hendrycks & Dietterich 2019, one function each, for batches of any size.

Every function takes images `(N, C, H, W)` float32 in [0, 1], one stream of random numbers for each image, and the level
of a severity from `corruption_tables`; it returns images that are still to be clipped. No number of one image enters
another's arithmetic, so an image does not depend on its batch.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from seasoning.data.corruptions.textures import frost_texture, plasma
from seasoning.data.corruptions.warps import disk, filtered, moved_along, sampled, smoothed, zoomed


__all__ = ["KINDS"]

Images = NDArray[np.float32]
Draws = Sequence[np.random.Generator]

_FROSTS = 5
_STEEP, _SLANTED = (-135.0, -45.0), (-45.0, 45.0)  # degrees


def gaussian_noise(x: Images, draws: Draws, level: float) -> Images:
    """Normal noise of a standard deviation."""
    noise = _drawn(x, lambda draw, shape: draw.standard_normal(shape, dtype=np.float32), draws)
    return x + np.float32(level) * noise


def shot_noise(x: Images, draws: Draws, level: float) -> Images:
    """Poisson noise of so many photons at white."""
    counts = [draw.poisson(image * level) for draw, image in zip(draws, x, strict=True)]
    return (np.stack(counts) / level).astype(np.float32)


def impulse_noise(x: Images, draws: Draws, level: float) -> Images:
    """A fraction of the values becomes black or white, evenly."""
    chance = _drawn(x, lambda draw, shape: draw.random(shape, dtype=np.float32), draws)
    return np.where(chance < level / 2, np.float32(0), np.where(chance < level, np.float32(1), x))


def defocus_blur(x: Images, draws: Draws, level: tuple[float, float]) -> Images:
    """The mean over a disk with a soft edge."""
    return filtered(x, disk(*level))


def glass_blur(x: Images, draws: Draws, level: tuple[float, int, int]) -> Images:
    """Between two Gaussian blurs, pixels take the values of close ones, each in turn from the far corner.

    In the published sets the exchange of two pixels overwrites the one and leaves the other, and so it does here.
    """
    sigma, reach, rounds = level
    count, channels, height, width = x.shape
    blurred = _in_256_steps(_gaussian(x, sigma))
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    here = (rows[:, None] * width + columns).ravel()
    size = (rounds, len(here), 2)
    steps = np.stack([draw.integers(-reach, reach, size=size) for draw in draws], axis=-1)
    there = here[:, None] + steps[:, :, 0] * width + steps[:, :, 1]
    # Where every pixel's value comes from: a row for each pixel, a column for each image.
    source = np.repeat(np.arange(height * width)[:, None], count, axis=1)
    images = np.arange(count)
    for turn in there:
        for index, others in zip(here.tolist(), turn, strict=True):
            source[index] = source[others, images]
    flat = blurred.reshape(count, channels, -1)
    shuffled = np.take_along_axis(flat, source.T[:, None, :], axis=2).reshape(x.shape)
    return _gaussian(shuffled, sigma)


def motion_blur(x: Images, draws: Draws, level: tuple[int, float]) -> Images:
    """A one-sided Gaussian along a line of up to 45 degrees."""
    angles = [draw.uniform(*_SLANTED) for draw in draws]
    return np.stack([moved_along(image, *level, angle) for image, angle in zip(x, angles, strict=True)])


def zoom_blur(x: Images, draws: Draws, level: NDArray[np.float64]) -> Images:
    """The mean of the image and its enlargements."""
    total = x.copy()
    for factor in level:
        total += zoomed(x, float(factor))
    return total / np.float32(len(level) + 1)


def snow(x: Images, draws: Draws, level: tuple[float, ...]) -> Images:
    """Falling flakes over a paler image."""
    mean, deviation, zoom, threshold, radius, sigma, fraction = level
    height, width = x.shape[2:]
    scattered = np.stack([draw.normal(mean, deviation, (1, height, width)) for draw in draws]).astype(np.float32)
    flakes = zoomed(scattered, zoom)
    flakes[flakes < threshold] = 0
    flakes = _in_256_steps(flakes.clip(0, 1))
    angles = [draw.uniform(*_STEEP) for draw in draws]
    layers = [moved_along(flake, int(radius), sigma, angle) for flake, angle in zip(flakes, angles, strict=True)]
    layer = np.stack(layers)
    pale = np.maximum(x, _grey(x) * np.float32(1.5) + np.float32(0.5))
    return np.asarray(np.float32(fraction) * x + np.float32(1 - fraction) * pale + layer + layer[:, :, ::-1, ::-1])


def frost(x: Images, draws: Draws, level: tuple[float, float]) -> Images:
    """Ice crystals over the image: a texture made by code, so not comparable with the published sets."""
    height, width = x.shape[2:]
    crops = []
    for draw in draws:
        texture = frost_texture(int(draw.integers(_FROSTS)), max(height, width))
        top, left = draw.integers(0, texture.shape[1] - height), draw.integers(0, texture.shape[2] - width)
        crops.append(texture[:, top : top + height, left : left + width])
    ice = np.stack(crops)
    if x.shape[1] == 1:
        ice = _grey(ice)
    return np.asarray(np.float32(level[0]) * x + np.float32(level[1]) * ice)


def fog(x: Images, draws: Draws, level: tuple[float, float]) -> Images:
    """Wisps by the diamond-square algorithm, scaled back to the image's brightest value."""
    thickness, decay = level
    height, width = x.shape[2:]
    wisps = plasma(draws, max(height, width), decay)[:, None, :height, :width]
    brightest = x.reshape(len(x), -1).max(1)[:, None, None, None]
    return np.asarray((x + np.float32(thickness) * wisps) * brightest / (brightest + np.float32(thickness)))


def brightness(x: Images, draws: Draws, level: float) -> Images:
    """Added to the value of HSV; hue and saturation stay."""
    value = x.max(axis=1, keepdims=True)
    raised = np.minimum(value + np.float32(level), 1)
    return np.asarray(np.where(value > 0, x * (raised / np.maximum(value, np.float32(1e-6))), raised))


def contrast(x: Images, draws: Draws, level: float) -> Images:
    """Cut around each channel's mean."""
    mean = x.reshape(*x.shape[:2], -1).mean(axis=2, dtype=np.float64)[..., None, None].astype(np.float32)
    return np.asarray((x - mean) * np.float32(level) + mean)


def elastic_transform(x: Images, draws: Draws, level: tuple[float, float, float]) -> Images:
    """An affine map that moves three points at random, then smooth small displacements."""
    height, width = x.shape[2:]
    side = min(height, width)
    amplitude, sigma, wobble = (side * length for length in level)
    center, third = np.array([width // 2, height // 2], dtype=float), side // 3
    before = center + third * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    after = before + np.stack([draw.uniform(-wobble, wobble, before.shape) for draw in draws])
    # The map from a pixel of the result to where it comes from: the inverse of the one from `before` to `after`.
    ones = np.ones((len(x), 3, 1))
    back = np.linalg.solve(np.concatenate([after, ones], axis=2), np.broadcast_to(before, after.shape))
    rows, columns = np.mgrid[:height, :width].astype(float)
    positions = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    origin = np.einsum("hwi,nik->nkhw", positions, back)
    turned = sampled(x, origin[:, 1], origin[:, 0], mirrored=True)
    steps = np.stack([draw.uniform(-1, 1, (2, height, width)) for draw in draws])
    steps = amplitude * smoothed(steps, sigma)
    return sampled(turned, rows + steps[:, 0], columns + steps[:, 1], mirrored=False)


def pixelate(x: Images, draws: Draws, level: float) -> Images:
    """Down to a fraction of the side and up again, by boxes."""
    height, width = x.shape[2:]
    small = int(width * level), int(height * level)

    def coarse(image: Image.Image) -> Image.Image:
        return image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX)

    return _through_pictures(x, coarse)


def jpeg_compression(x: Images, draws: Draws, level: int) -> Images:
    """Written as JPEG of a quality and read again."""

    def compressed(image: Image.Image) -> Image.Image:
        written = io.BytesIO()
        image.save(written, "JPEG", quality=level)
        return Image.open(written)

    return _through_pictures(x, compressed)


KINDS: dict[str, Callable[[Images, Draws, Any], Images]] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}


def _drawn(x: Images, draw_one: Callable[[np.random.Generator, tuple[int, ...]], Images], draws: Draws) -> Images:
    return np.stack([draw_one(draw, x.shape[1:]) for draw in draws])


def _in_256_steps(x: Images) -> Images:
    return np.asarray(np.floor(x * 255) / 255, dtype=np.float32)


def _gaussian(x: Images, sigma: float) -> Images:
    blurred: Images = ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="nearest")
    return blurred


def _grey(x: Images) -> Images:
    """Luma, `(N, 1, H, W)`."""
    if x.shape[1] == 1:
        return x
    red, green, blue = (x[:, channel : channel + 1] for channel in range(3))
    return np.asarray(np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue)


def _through_pictures(x: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    """Every image as a picture of 8 bits, changed, and back."""
    changed = np.empty_like(x)
    for result, image in zip(changed, np.rint(x * 255).astype(np.uint8), strict=True):
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        pixels = np.asarray(change(picture), dtype=np.float32) / np.float32(255)
        result[...] = pixels if len(image) == 1 else pixels.transpose(2, 0, 1)
    return changed
