"""Projection onto ball and box by Dykstra's alternating projections: slow, obvious, and independent of ours."""

import numpy as np
from numpy.typing import NDArray

from seasoning.threat import Norm


__all__ = ["dykstra"]

Vector = NDArray[np.float64]


def dykstra(point: Vector, center: Vector, norm: Norm, eps: float, rounds: int = 4000) -> Vector:
    """Nearest point of {z : ||z - center|| <= eps} ∩ [0, 1] to a vector (Boyle & Dykstra 1986)."""
    z, p, q = point.copy(), np.zeros_like(point), np.zeros_like(point)
    for _ in range(rounds):
        inner = center + _onto_ball(z + p - center, norm, eps)
        p = z + p - inner
        z = np.clip(inner + q, 0, 1)
        q = inner + q - z
    return z


def _onto_ball(delta: Vector, norm: Norm, eps: float) -> Vector:
    if norm == "linf":
        return np.clip(delta, -eps, eps)
    if norm == "l2":
        length = np.linalg.norm(delta)
        return delta if length <= eps else delta * (eps / length)
    if np.abs(delta).sum() <= eps:
        return delta
    # Duchi et al. 2008: the threshold from the sorted sizes.
    sizes = np.sort(np.abs(delta))[::-1]
    thresholds = (np.cumsum(sizes) - eps) / np.arange(1, len(sizes) + 1)
    threshold = thresholds[np.nonzero(sizes > thresholds)[0][-1]]
    shrunk: Vector = np.sign(delta) * np.maximum(np.abs(delta) - threshold, 0)
    return shrunk
