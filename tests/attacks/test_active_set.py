"""Passes counted, places refilled, and outcomes that do not care who sits beside whom."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import AttackResult, MaskedGradients, apgd
from seasoning.attacks.checks import evaluation_mode
from seasoning.data import Samples
from seasoning.models import PixelClassifier
from seasoning.threat import NORMS, Norm, Threat
from tests.attacks.test_apgd import boundary, problem


RADII: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}


class Counter(nn.Module):
    """Counts the forward passes of single images, those that a gradient was asked of, and the calls."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.forwards, self.backwards = 0, 0
        self.sizes: list[int] = []  # of the batches with a gradient

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        self.backwards += len(x) * x.requires_grad
        self.sizes += [len(x)] * x.requires_grad
        return self.model(x)


def in_double(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model in float64, without changing the one that other tests share."""
    state = {name: tensor.double() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    return lambda x: torch.func.functional_call(model, state, (x,))


def same(one: AttackResult, other: AttackResult, rows: Tensor | None = None) -> None:
    """Every column of `one` at `rows` equals `other`, images up to rounding in float64."""
    rows = torch.arange(len(one.x_adv)) if rows is None else rows
    for name in ("fooled", "gradients", "forwards"):
        assert torch.equal(getattr(one, name)[rows], getattr(other, name)), name
    torch.testing.assert_close(one.x_adv[rows], other.x_adv, rtol=0, atol=1e-10)


@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted-dlr"])
@pytest.mark.parametrize("norm", NORMS)
def test_batches_order_and_refill_do_not_matter(
    robust_model: PixelClassifier, few: Samples, norm: Norm, loss: str
) -> None:
    x, threat = few.x.double(), Threat(norm, RADII[norm])
    with evaluation_mode(robust_model):
        counter = Counter(in_double(robust_model))
        clean = counter(x).detach()
        attack = partial(apgd, counter, threat=threat, loss=loss, steps=12, restarts=2, seed=1)
        whole = attack(x, few.y, ids=few.ids, clean=clean)
        assert 0.1 < float(whole.fooled.double().mean()) < 0.95
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        passes = []
        for size in (3, 7, 16):
            for rows in (torch.arange(len(x)), order):
                counter.forwards = counter.backwards = 0
                counter.sizes.clear()
                parts = attack(x[rows], few.y[rows], ids=few.ids[rows], batch_size=size, clean=clean[rows])
                same(whole, parts, rows)
                passes.append((counter.forwards, counter.backwards))
                assert max(counter.sizes) <= size
                assert counter.forwards == int(parts.forwards.sum())
                assert counter.backwards == int(parts.gradients.sum())
        assert len(set(passes)) == 1


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("norm", NORMS)
def test_a_sample_that_stands_takes_n_backwards_and_one_forward_more(norm: Norm, size: int) -> None:
    model, x, y = problem(8)
    steps, counter = 20, Counter(model)
    result = apgd(counter, x, y, Threat(norm, 1e-6), loss="ce", steps=steps, batch_size=size, clean=model(x))
    # One look without a gradient at the end of each phase of the radius.
    phases = 4 if norm == "l1" else 1
    assert counter.forwards == 8 * (steps + phases) == int(result.forwards.sum())
    assert counter.backwards == 8 * steps == int(result.gradients.sum())


def test_the_clean_check_is_one_pass_and_the_probe_is_not_counted() -> None:
    model, x, y = problem(8)
    counter = Counter(model)
    result = apgd(counter, x, y, Threat("linf", 1e-6), loss="ce", steps=5, batch_size=3)
    probed = 8
    assert counter.forwards == 8 * (1 + 5 + 1) + probed
    assert int(result.forwards.sum()) == 8 * (1 + 5 + 1)


def test_training_takes_no_clean_pass_and_all_steps() -> None:
    model, x, y = problem(8)
    counter = Counter(model)
    result = apgd(counter, x, y, Threat("linf", 0.99), steps=10, best_loss=True, batch_size=3)
    assert (counter.forwards, counter.backwards, set(counter.sizes)) == (8 * 11, 8 * 10, {8})
    assert bool(result.fooled.all())
    assert bool((result.gradients == 10).all())


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("norm", NORMS)
def test_leaving_early_leaves_the_same_samples_standing(
    robust_model: PixelClassifier, few: Samples, norm: Norm, restarts: int
) -> None:
    threat = Threat(norm, RADII[norm])
    with evaluation_mode(robust_model):
        attack = partial(apgd, in_double(robust_model), few.x.double(), few.y, threat, steps=15, restarts=restarts)
        early, full = attack(batch_size=8), attack(active_set=False)
    assert torch.equal(early.fooled, full.fooled)
    assert bool((early.gradients <= full.gradients).all())
    assert int(early.gradients.sum()) < int(full.gradients.sum())
    torch.testing.assert_close(early.x_adv, full.x_adv, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_only_samples_still_standing_are_passed(norm: Norm) -> None:
    # A sample needs a gradient for every look that does not fool, found by attacking it alone for n = 1, 2, … steps.
    model, x, y = problem(12)
    threat, steps = Threat(norm, float(boundary(model, x, y, norm).median()) * 1.1), 10
    seen: list[Tensor] = []

    def watched(images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        seen.append((logits.argmax(1) != y).detach())
        return logits

    apgd(watched, x, y, threat, steps=steps, active_set=False, clean=model(x))
    fooled = torch.stack(seen)
    needed = torch.where(fooled.any(0), fooled.double().argmax(0) + 1, steps).clamp_max(steps)
    counter = Counter(model)
    apgd(counter, x, y, threat, steps=steps, batch_size=4, clean=model(x))
    assert bool(fooled.any(0).any())
    assert counter.backwards == int(needed.sum())


def test_places_are_refilled_while_samples_wait(robust_model: PixelClassifier, digits: dict[str, Samples]) -> None:
    samples, counter = digits["test"], Counter(robust_model)
    result = apgd(counter, samples.x, samples.y, Threat("linf", 0.1), steps=20, batch_size=16, ids=samples.ids)
    assert 0.2 < float(result.fooled.float().mean()) < 0.9
    # Only when nobody waits any more does the batch shrink.
    first_smaller = next(place for place, size in enumerate(counter.sizes) if size < 16)
    assert sum(counter.sizes[:first_smaller]) > 0.75 * counter.backwards


def test_the_callers_images_are_not_written_to() -> None:
    model, x, y = problem(9)
    start, before = (x + 0.01).clamp(0, 1), x.clone()
    begun = start.clone()
    apgd(model, x, y, Threat("linf", 0.3), steps=8, start=start, batch_size=2)
    apgd(model, x, y, Threat("l1", 3.0), steps=8, batch_size=4)
    assert torch.equal(x, before)
    assert torch.equal(start, begun)


class Rough(nn.Module):
    """Wrong wherever bfloat16 is on, as an extreme case of rounding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rough = model, 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        if not torch.is_autocast_enabled("cpu"):
            return logits
        self.rough += len(x)
        return -logits


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("active_set", [True, False])
def test_no_find_of_bfloat16_counts_unconfirmed(size: int, active_set: bool) -> None:
    model, x, y = problem(8)
    rough = Rough(model)
    attack = partial(apgd, rough, x, y, steps=6, precision="bf16", batch_size=size, active_set=active_set)
    safe = attack(threat=Threat("linf", 1e-6))
    assert rough.rough == 8 * 7
    assert not bool(safe.fooled.any())
    # It goes on climbing as if nothing had been claimed, and each claim costs one more pass.
    assert safe.gradients.tolist() == [6] * 8
    assert safe.forwards.tolist() == [1 + 7 + 7] * 8
    torch.testing.assert_close(safe.x_adv, x)
    found = attack(threat=Threat("linf", 0.99))
    assert bool((model(found.x_adv).argmax(1) != y)[found.fooled].all())


@pytest.mark.parametrize("active_set", [True, False])
def test_nan_in_full_precision_confirms_nothing(active_set: bool) -> None:
    model, x, y = problem(8)

    def breaks(images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        return logits if torch.is_autocast_enabled("cpu") else logits * torch.nan

    attack = partial(apgd, breaks, x, y, Threat("linf", 0.99), steps=6, clean=model(x), active_set=active_set)
    with pytest.warns(MaskedGradients, match="NaN or infinite logits"):
        assert not bool(attack(precision="bf16").fooled.any())


@pytest.mark.parametrize("norm", NORMS)
def test_bfloat16_finds_nearly_what_full_precision_finds(
    robust_model: PixelClassifier, digits: dict[str, Samples], norm: Norm
) -> None:
    samples = digits["test"]
    attack = partial(apgd, robust_model, samples.x, samples.y, Threat(norm, RADII[norm]), steps=20, ids=samples.ids)
    full, half = attack(), attack(precision="bf16", batch_size=32)
    assert bool((robust_model(half.x_adv).argmax(1) != samples.y)[half.fooled].all())
    assert float(full.fooled.float().mean() - half.fooled.float().mean()) <= 0.02


def test_training_may_climb_in_bfloat16() -> None:
    model, x, y = problem(6)
    attack = partial(apgd, model.float(), x.float(), y, Threat("l2", 0.3), steps=10, best_loss=True)
    full, half = attack(), attack(precision="bf16")
    assert half.x_adv.dtype == torch.float32
    clean = nn.functional.cross_entropy(model(x.float()), y, reduction="none").detach()
    reached = [nn.functional.cross_entropy(model(each.x_adv), y, reduction="none") for each in (full, half)]
    assert bool((reached[1] > clean).all())
    torch.testing.assert_close(reached[1], reached[0], rtol=0.05, atol=0.01)
