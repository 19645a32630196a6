import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seasoning.errors import BadInput, Mismatch
from seasoning.geometry import BALLS, distance, project, sparse_direction
from seasoning.threat import NORMS, Norm, Threat
from tests.reference.projection import dykstra


RADII: dict[Norm, float] = {"linf": 0.2, "l2": 0.9, "l1": 2.0}
SLACK = 1e-9


def batch(seed: int, scale: float) -> tuple[Tensor, Tensor]:
    """Points and centers in float64; some centers lie on the faces of the box, as dark pixels do."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(3, 2, 4, 4, generator=generator, dtype=torch.float64)
    center = torch.where(torch.rand(center.shape, generator=generator) < 0.3, center.round(), center)
    return center + scale * torch.randn(center.shape, generator=generator, dtype=torch.float64), center


points = given(st.integers(0, 10_000), st.sampled_from([1e-3, 0.1, 0.5, 3.0]), st.sampled_from(NORMS))


@points
@settings(deadline=None)
def test_projections_land_inside_ball_and_box(seed: int, scale: float, norm: Norm) -> None:
    x, center = batch(seed, scale)
    for at in (project(x, center, Threat(norm, RADII[norm])), BALLS[norm].land(x, center, radii(norm, x))):
        assert bool(((at >= 0) & (at <= 1)).all())
        assert bool((distance(at, center, norm) <= RADII[norm] + SLACK).all())


@pytest.mark.parametrize("norm", NORMS)
def test_projections_let_gradients_through(norm: Norm) -> None:
    x, center = batch(0, 0.5)
    threat = Threat(norm, RADII[norm])
    project(x.requires_grad_(), center, threat).square().sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    assert bool((x.grad != 0).flatten(1).any(1).all())


@points
@settings(deadline=None)
def test_projections_keep_points_that_are_inside(seed: int, scale: float, norm: Norm) -> None:
    x, center = batch(seed, scale)
    threat = Threat(norm, RADII[norm])
    inside = project(x, center, threat)
    torch.testing.assert_close(project(inside, center, threat), inside, rtol=0, atol=SLACK)
    torch.testing.assert_close(BALLS[norm].land(inside, center, radii(norm, x)), inside, rtol=0, atol=SLACK)
    torch.testing.assert_close(project(center, center, threat), center, rtol=0, atol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_projections_are_the_nearest_points(norm: Norm, scale: float, seed: int) -> None:
    x, center = batch(seed, scale)
    ours = project(x, center, Threat(norm, RADII[norm])).flatten(1).numpy()
    for row, point, middle in zip(ours, x.flatten(1).numpy(), center.flatten(1).numpy(), strict=True):
        expected = dykstra(point, middle, norm, RADII[norm])
        np.testing.assert_allclose(row, expected, atol=2e-6)


def test_the_l2_map_of_the_attack_is_not_the_nearest_point() -> None:
    x, center = batch(0, 3.0)
    landed = BALLS["l2"].land(x, center, radii("l2", x))
    nearest = project(x, center, Threat("l2", RADII["l2"]))
    assert bool(((landed - x).flatten(1).norm(dim=1) > (nearest - x).flatten(1).norm(dim=1) + 1e-6).all())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9])
def test_points_however_far_are_projected_exactly(norm: Norm, scale: float) -> None:
    # So far out the nearest point lies in the same direction as from any other far point on the same ray.
    x, center = batch(0, scale)
    landed = project(x, center, Threat(norm, RADII[norm]))
    kept = RADII[norm] if norm != "linf" else torch.inf
    torch.testing.assert_close(distance(landed, center, norm).clamp_max(kept), distance(landed, center, norm))
    if norm == "l1":
        # Optimality: the entries that neither box nor zero stops were all shrunk by the same multiplier.
        moved = (landed - center).abs().flatten(1)
        room = torch.where(x > center, 1 - center, center).flatten(1)
        free = (moved > 1e-9) & (moved < room - 1e-9)
        multiplier = (x - center).abs().flatten(1) - moved
        for row, mask in zip(multiplier, free, strict=True):
            assert float(row[mask].max() - row[mask].min()) <= 1e-9 * scale if bool(mask.any()) else True
        assert bool((distance(landed, center, "l1") > RADII["l1"] - 1e-6).all())


@pytest.mark.parametrize("norm", NORMS)
def test_single_precision_stays_in_the_ball(norm: Norm) -> None:
    x, center = (each.float() for each in batch(5, 2.0))
    landed = project(x, center, Threat(norm, RADII[norm]))
    assert landed.dtype == torch.float32
    assert bool((distance(landed, center, norm) <= RADII[norm] * (1 + 1e-6)).all())


@pytest.mark.parametrize("norm", NORMS)
def test_radii_belong_to_their_own_sample(norm: Norm) -> None:
    x, center = batch(1, 1.0)
    eps = torch.tensor([0.0, 0.1, 5.0], dtype=torch.float64)
    together = BALLS[norm].project(x, center, eps)
    alone = [BALLS[norm].project(x[i : i + 1], center[i : i + 1], eps[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0)
    torch.testing.assert_close(together[0], center[0], rtol=0, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_are_inside_and_reach_far(norm: Norm) -> None:
    _, center = batch(2, 1.0)
    middle = torch.full_like(center, 0.5)
    noise = torch.randn(center.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = BALLS[norm].start(noise, middle, radii(norm, center))
    away = distance(start, middle, norm)
    assert bool((away <= RADII[norm] + SLACK).all())
    assert bool((away > 0.9 * RADII[norm]).all())


@pytest.mark.parametrize("norm", NORMS)
def test_directions_have_unit_norm_and_point_uphill(norm: Norm) -> None:
    gradient = batch(3, 1.0)[0]
    direction = BALLS[norm].direction(gradient)
    torch.testing.assert_close(BALLS[norm].norm(direction), torch.ones(3, dtype=torch.float64))
    assert bool(((direction * gradient).flatten(1).sum(1) > 0).all())


def test_sparse_directions_move_the_largest_entries() -> None:
    gradient = torch.tensor([[5.0, -4.0, 3.0, 0.0], [0.0, 0.0, 0.0, -1.0]]).view(2, 1, 2, 2)
    direction = sparse_direction(gradient, torch.tensor([0.5, 0.5])).flatten(1)
    expected = torch.tensor([[0.5, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, -1.0]])
    torch.testing.assert_close(direction, expected)


def test_bad_arguments_are_named() -> None:
    x, center = batch(0, 1.0)
    with pytest.raises(Mismatch, match="shape"):
        project(x[:2], center, Threat("l2", 1.0))
    with pytest.raises(BadInput, match="center"):
        project(x, center + 1, Threat("l2", 1.0))


def radii(norm: Norm, x: Tensor) -> Tensor:
    return x.new_full((len(x),), RADII[norm])
