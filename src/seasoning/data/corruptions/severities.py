"""The published severities of the 15 common corruptions, for images of 32 and of 224 pixels.

Source: Hendrycks & Dietterich 2019, *Benchmarking neural network robustness to common corruptions and perturbations*,
the settings with which ImageNet-C and CIFAR-10-C were made. Lengths are in pixels; those of `elastic_transform` here in
sides of the image (published as multiples of 32, and of 244 for images of 224).
"""

from typing import Any

import numpy as np


__all__ = ["SEVERITIES", "table_for"]

_AT_32: dict[str, list[Any]] = {
    "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],  # standard deviation
    "shot_noise": [500, 250, 100, 75, 50],  # photons at white
    "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],  # fraction of the values
    "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],  # radius, blur of the disk's edge
    "glass_blur": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],  # sigma, reach, rounds
    "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],  # radius, sigma
    "zoom_blur": [np.arange(1, stop, 0.01) for stop in (1.06, 1.11, 1.16, 1.21, 1.26)],  # factors averaged
    # mean and deviation of the flakes, zoom, threshold, radius and sigma of the motion, fraction of the image
    "snow": [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],  # fraction of the image, of the frost
    "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],  # thickness, decay of the wisps
    "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],  # added to the value of HSV
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],  # factor around the mean
    # amplitude, smoothness, wobble of the affine map
    "elastic_transform": [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],  # fraction of the side
    "jpeg_compression": [80, 65, 58, 50, 40],  # quality
}

_ELASTIC_SIDE = 244 / 224

_AT_224: dict[str, list[Any]] = {
    "gaussian_noise": [0.08, 0.12, 0.18, 0.26, 0.38],
    "shot_noise": [60, 25, 12, 5, 3],
    "impulse_noise": [0.03, 0.06, 0.09, 0.17, 0.27],
    "defocus_blur": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    "glass_blur": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    "motion_blur": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    "zoom_blur": [
        np.arange(1, stop, step)
        for stop, step in ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
    ],
    "snow": [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
    "frost": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    "fog": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    "brightness": [0.1, 0.2, 0.3, 0.4, 0.5],
    "contrast": [0.4, 0.3, 0.2, 0.1, 0.05],
    "elastic_transform": [
        tuple(_ELASTIC_SIDE * length for length in lengths)
        for lengths in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ],
    "pixelate": [0.6, 0.5, 0.4, 0.3, 0.25],
    "jpeg_compression": [25, 18, 15, 10, 7],
}

SEVERITIES: dict[int, dict[str, list[Any]]] = {32: _AT_32, 224: _AT_224}


def table_for(height: int, width: int) -> int:
    """The side, 32 or 224, whose published table serves an image: the nearer one, by the ratio of the shorter sides."""
    side = min(height, width)
    return 32 if side * side <= 32 * 224 else 224
