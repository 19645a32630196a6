"""What becomes of the l_1 ascent when its best perturbation grows sparser, or does not."""

import torch

from seasoning.attacks.apgd_step import Ascent, Schedule, adapt


def test_a_clear_fall_of_the_support_starts_again_from_the_best_point() -> None:
    center = torch.full((3, 1, 2, 5), 0.5, dtype=torch.float64)
    point, rows = center + 0.1, torch.arange(3)
    eps, zeros = torch.full((3,), 1.0, dtype=torch.float64), torch.zeros_like(rows)
    ascent = Ascent.begin(rows, zeros, zeros, center, point, eps, "l1", given=True)
    # The best points differ from the center in 2, 10 and 2 of 10 entries; the third sample is not due.
    ascent.x_best = point.clone()
    ascent.x_best[0].view(-1)[2:] = 0.5
    ascent.x_best[2].view(-1)[2:] = 0.5
    ascent.gradient_best = torch.ones_like(point)
    ascent.taken = torch.tensor([1, 1, 0])
    ascent.step = eps / 5
    schedule = Schedule.of([(1.0, 20)], "l1", eps)
    adapt(ascent, schedule, "l1")
    assert torch.equal(ascent.x[0], ascent.x_best[0])
    assert bool((ascent.gradient[0] == 1).all())
    assert torch.equal(ascent.x[1:], point[1:])
    assert bool((ascent.gradient[1:] == 0).all())
    torch.testing.assert_close(ascent.step, torch.tensor([1.0, 0.2 / 1.5, 0.2], dtype=torch.float64))
    torch.testing.assert_close(ascent.support, torch.tensor([0.2, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ascent.density * 1.5, ascent.support)
