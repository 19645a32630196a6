"""What becomes of the l_1 climb when its best perturbation grows sparser, or does not."""

import torch

from seasoning.attacks.climb import Climb, Schedule, adapt


def test_a_clear_fall_of_the_support_starts_again_from_the_best_point() -> None:
    center = torch.full((3, 1, 2, 5), 0.5, dtype=torch.float64)
    point, rows = center + 0.1, torch.arange(3)
    eps, zeros = torch.full((3,), 1.0, dtype=torch.float64), torch.zeros_like(rows)
    climb = Climb.begin(rows, zeros, zeros, center, point, eps, "l1", given=True)
    # The best points differ from the center in 2, 10 and 2 of 10 entries; the third sample is not due.
    climb.x_best = point.clone()
    climb.x_best[0].view(-1)[2:] = 0.5
    climb.x_best[2].view(-1)[2:] = 0.5
    climb.gradient_best = torch.ones_like(point)
    climb.taken = torch.tensor([1, 1, 0])
    climb.step = eps / 5
    schedule = Schedule.of([(1.0, 20)], "l1", eps)
    adapt(climb, schedule, "l1")
    assert torch.equal(climb.x[0], climb.x_best[0])
    assert bool((climb.gradient[0] == 1).all())
    assert torch.equal(climb.x[1:], point[1:])
    assert bool((climb.gradient[1:] == 0).all())
    torch.testing.assert_close(climb.step, torch.tensor([1.0, 0.2 / 1.5, 0.2], dtype=torch.float64))
    torch.testing.assert_close(climb.support, torch.tensor([0.2, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(climb.density * 1.5, climb.support)
