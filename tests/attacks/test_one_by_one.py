"""The package against a slow implementation of one image at a time, in random configurations."""

import random
from typing import Any

import pytest
import torch
from torch import nn

from seasoning.attacks import LOSSES, apgd
from seasoning.geometry import project
from seasoning.threat import NORMS, Norm, Threat
from tests.reference.apgd import Asked, attack_one


RADII = {"linf": 0.1, "l2": 0.3, "l1": 0.9}
CONFIGURATIONS = 20


def configuration(norm: Norm, number: int) -> dict[str, Any]:
    """Options of one attack, drawn for its number."""
    draw = random.Random(f"{norm}/{number}")
    best_loss = draw.random() < 0.25
    loss = draw.choice(LOSSES)
    given = draw.random() < 0.2 and loss != "kl"
    return {
        "loss": loss,
        "steps": draw.choice((1, 4, 12, 26, 60)),
        "restarts": draw.choice((1, 1, 3)) if not given or loss.startswith("targeted") else 1,
        "targets": draw.choice((None, 1, 2, 9)) if loss.startswith("targeted") else None,
        "best_loss": best_loss,
        "given": given,
        "active_set": draw.random() < 0.7,
        "batch_size": draw.choice((1, 2, 3, 20)),
        "seed": draw.randrange(50),
        "scale": draw.choice((0.3, 0.6, 1.0)),
        "edge": draw.random() < 0.5,
    }


@pytest.mark.parametrize("number", range(CONFIGURATIONS))
@pytest.mark.parametrize("norm", NORMS)
def test_every_sample_takes_the_steps_of_the_reference(norm: Norm, number: int) -> None:
    options = configuration(norm, number)
    generator = torch.Generator().manual_seed(number)
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 12), nn.Tanh(), nn.Linear(12, 6)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.8 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.rand(5, 2, 4, 4, generator=generator, dtype=torch.float64)
    if options.pop("edge"):
        # Many pixels on the edge of the box.
        x = (1.6 * x - 0.3).clamp(0, 1)
    y, ids = model(x).argmax(1), torch.randperm(1000, generator=generator)[:5]
    y[4] = (y[4] + 1) % 6
    threat = Threat(norm, options.pop("scale") * RADII[norm])
    start = None
    if options.pop("given"):
        start = project(x + 0.1 * torch.randn(x.shape, generator=generator, dtype=torch.float64), x, threat)
    result = apgd(model, x, y, threat, start=start, ids=ids, **options)
    checked = not options["best_loss"] or options["loss"] not in ("ce", "dlr")
    for row in range(5):
        kept = ("loss", "steps", "restarts", "targets", "best_loss", "seed")
        one = None if start is None else start[row]
        sample, leave = int(ids[row]), options["active_set"]
        asked = {name: options[name] for name in kept} | {"start": one, "sample": sample, "leave": leave}
        expected = attack_one(Asked(model, x[row], int(y[row]), threat, **asked))
        assert bool(result.fooled[row]) == expected.fooled
        assert int(result.gradients[row]) == expected.gradients
        assert int(result.forwards[row]) == expected.forwards + checked
        torch.testing.assert_close(result.x_adv[row], expected.x_adv, rtol=0, atol=1e-7)
        if options["best_loss"] or leave:
            assert float(result.loss[row]) == pytest.approx(expected.loss, abs=1e-7)
