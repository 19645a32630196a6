"""Linear maps and resampling that the corruptions are made of; each treats every image alone."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, signal


__all__ = ["disk", "filtered", "moved_along", "sampled", "smoothed", "zoomed"]

Images = NDArray[np.float32]

_SMALL_KERNEL = 9  # up to this side a direct sum is faster than a Fourier transform
_NEGLIGIBLE = 1e-5  # of the weight of a kernel


def zoomed(x: Images, factor: float) -> Images:
    """The middle of images `(N, C, H, W)` enlarged to their size, linearly interpolated."""
    height, width = x.shape[2:]
    upper, below = _zoomed_positions(height, factor)
    left, right = _zoomed_positions(width, factor)
    rows = x[:, :, upper] + below[:, None] * (x[:, :, np.minimum(upper + 1, height - 1)] - x[:, :, upper])
    return np.asarray(rows[..., left] + right * (rows[..., np.minimum(left + 1, width - 1)] - rows[..., left]))


@lru_cache(maxsize=512)
def _zoomed_positions(side: int, factor: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where each pixel of an enlarged line comes from: the pixel before it, and the way to the next one."""
    kept = math.ceil(side / factor)
    enlarged = round(kept * factor)
    # The ends of the middle part lie on those of its enlargement, of which the middle is kept.
    positions = np.arange(side) + (enlarged - side) // 2
    origin = (side - kept) // 2 + positions * ((kept - 1) / max(enlarged - 1, 1))
    before = np.floor(origin).astype(np.int64)
    return before, (origin - before).astype(np.float32)


def smoothed(steps: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Fields `(N, 2, H, W)` under a Gaussian that is cut off at three sigma, reflected at the edges."""
    if sigma == 0:
        return steps
    down, across = (torch.from_numpy(_blur_matrix(side, sigma)) for side in steps.shape[2:])
    # One by one: a product of many might be summed up otherwise.
    return np.stack([(down @ torch.from_numpy(field) @ across.T).numpy() for field in steps])


@lru_cache(maxsize=64)
def _blur_matrix(side: int, sigma: float) -> NDArray[np.float64]:
    """The blur of a line, `(side, side)`: for long Gaussians a product is faster than a sum over taps."""
    return np.asarray(ndimage.gaussian_filter1d(np.eye(side), sigma, axis=0, mode="reflect", truncate=3))


@lru_cache(maxsize=64)
def disk(radius: float, edge: float) -> NDArray[np.float64]:
    """A disk whose edge is blurred by a Gaussian of 3 (radius above 8: 5) taps; sums to 1."""
    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    line = np.arange(-reach, reach + 1)
    sharp = (line[:, None] ** 2 + line**2 <= radius**2).astype(float)
    weights = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * edge**2))
    soft = sharp / sharp.sum()
    for axis in (0, 1):
        soft = ndimage.correlate1d(soft, weights / weights.sum(), axis=axis, mode="mirror")
    used = np.flatnonzero(soft.max(0) > 0)
    kept: NDArray[np.float64] = soft[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    return kept


def filtered(x: Images, kernel: NDArray[np.float64]) -> Images:
    """Every channel under a symmetric kernel of odd side, the images mirrored beyond their edges."""
    if len(kernel) <= _SMALL_KERNEL:
        small: Images = ndimage.correlate(x, kernel[None, None].astype(np.float32), mode="mirror")
        return small
    reach = len(kernel) // 2
    blurred = np.empty_like(x)
    for result, image in zip(blurred, x, strict=True):
        wide = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        result[...] = signal.fftconvolve(wide, kernel[None].astype(np.float32), mode="valid", axes=(1, 2))
    return blurred


def moved_along(image: Images, radius: int, sigma: float, angle: float) -> Images:
    """One image `(C, H, W)` under a one-sided Gaussian along a line, in whole pixels, its edges continued.

    The taps are those of ImageMagick's motion blur, with which the published sets were made.
    """
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    weights = weights[weights > _NEGLIGIBLE]
    steps = np.arange(len(weights))
    across = np.ceil(steps * math.cos(math.radians(angle)) - 0.5).astype(int)
    down = np.ceil(steps * math.sin(math.radians(angle)) - 0.5).astype(int)
    reach = len(weights)
    wide = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    rows, columns = image.shape[1:]
    total = np.zeros_like(image)
    for weight, right, below in zip(weights, (across + reach).tolist(), (down + reach).tolist(), strict=True):
        total += weight * wide[:, below : below + rows, right : right + columns]
    return total


def sampled(x: Images, rows: NDArray[np.float64], columns: NDArray[np.float64], *, mirrored: bool) -> Images:
    """Bilinear values at positions `(N, H, W)` of images `(N, C, H, W)`.

    Args:
        x: Images.
        rows: From the top, in pixels.
        columns: From the left, in pixels.
        mirrored: Beyond the edges: mirrored at the centre of the last pixel, or else reflected at its border.
    """
    count, channels, height, width = x.shape
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, right = (rows - top).astype(np.float32)[:, None], (columns - left).astype(np.float32)[:, None]
    flat = x.reshape(count, channels, height * width)

    def at(row: NDArray[np.int64], column: NDArray[np.int64]) -> Images:
        index = _folded(row, height, mirrored) * width + _folded(column, width, mirrored)
        return np.take_along_axis(flat, index.reshape(count, 1, -1), axis=2).reshape(count, channels, *rows.shape[1:])

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    values: Images = upper * (1 - below) + lower * below
    return values


def _folded(index: NDArray[np.int64], side: int, mirrored: bool) -> NDArray[np.int64]:
    """Indices beyond the ends brought back inside."""
    if mirrored:
        period = max(2 * side - 2, 1)
        turned = np.abs((index + side - 1) % period - (side - 1))
    else:
        turned = index % (2 * side)
        turned = np.where(turned >= side, 2 * side - 1 - turned, turned)
    return turned
