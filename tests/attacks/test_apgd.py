"""Attacks on a linear classifier, whose nearest decision boundary is known in closed form."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import LOSSES, MaskedGradients, apgd
from seasoning.data import Samples
from seasoning.errors import BadInput, UnknownName
from seasoning.evaluation.evaluator import evaluate
from seasoning.geometry import distance
from seasoning.models import PixelClassifier
from seasoning.outcomes import Outcomes
from seasoning.threat import NORMS, Norm, Threat


DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}
SHAPE = (1, 4, 4)


def linear(classes: int = 4, seed: int = 0) -> nn.Module:
    """A linear classifier of images, in float64."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def problem(batch: int, classes: int = 4) -> tuple[nn.Module, Tensor, Tensor]:
    """Images around mid-grey, so that the box does not matter, and the classes the model gives them."""
    model = linear(classes)
    x = 0.4 + 0.2 * torch.rand(batch, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model, x, model(x).argmax(1)


def boundary(model: nn.Module, x: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """Distance from each image to the nearest other class: margin over the dual norm of the difference of rows."""
    layer = model[1]  # type: ignore[index]
    logits = model(x)
    gaps = logits.gather(1, y[:, None]) - logits
    rows = (layer.weight[y][:, None] - layer.weight[None]).norm(p=DUAL[norm], dim=2)
    distances: Tensor = (gaps / rows.clamp_min(1e-300)).scatter(1, y[:, None], torch.inf).amin(1).detach()
    return distances


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted-ce", "targeted-dlr"])
@pytest.mark.parametrize("norm", NORMS)
def test_it_succeeds_exactly_beyond_the_known_distance(norm: Norm, loss: str, batch: int) -> None:
    model, x, y = problem(batch)
    away = boundary(model, x, y, norm)
    targets = 3 if loss.startswith("targeted") else None
    for i in range(batch):
        one = slice(i, i + 1)
        attack = partial(apgd, model, x[one], y[one], loss=loss, targets=targets, ids=torch.tensor([i]))
        outside = attack(Threat(norm, 0.98 * float(away[i])), steps=30)
        assert not bool(outside.fooled)
        torch.testing.assert_close(outside.x_adv, x[one])
        threat = Threat(norm, 1.05 * float(away[i]))
        inside = attack(threat, steps=100)
        assert bool(inside.fooled)
        assert bool(model(inside.x_adv).argmax(1) != y[one])
        assert float(distance(inside.x_adv, x[one], norm)) <= threat.eps * (1 + 1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_fooled_samples_leave_at_once(norm: Norm) -> None:
    model, x, y = problem(8)
    away = boundary(model, x, y, norm)
    threat = Threat(norm, float(away.median()))
    result = apgd(model, x, y, threat, loss="ce", steps=50, ids=torch.arange(8))
    assert bool(result.fooled.any())
    assert bool((~result.fooled).any())
    assert bool((result.gradients[~result.fooled] == 50).all())
    assert bool((result.gradients[result.fooled] < 50).all())


@pytest.mark.parametrize("loss", ["ce", "kl"])
@pytest.mark.parametrize("norm", NORMS)
def test_best_loss_mode_finds_the_corner_of_highest_loss(norm: Norm, loss: str) -> None:
    # Two classes: the loss rises with the gap of the logits, whose maximum over the ball is known.
    model, x, y = problem(5, classes=2)
    threat = Threat(norm, 0.05)
    result = apgd(model, x, y, threat, loss=loss, steps=60, best_loss=True)
    layer = model[1]  # type: ignore[index]
    slope = (layer.weight[0] - layer.weight[1]).norm(p=DUAL[norm]).detach()
    gap = (model(x)[:, 0] - model(x)[:, 1]).detach()
    reached = (model(result.x_adv)[:, 0] - model(result.x_adv)[:, 1]).detach()
    torch.testing.assert_close((reached - gap).abs(), (threat.eps * slope).expand(5), rtol=0.02, atol=0)
    if loss == "ce":
        assert bool((((reached - gap) < 0) == (y == 0)).all())


def test_the_clean_point_wins_where_the_radius_is_zero() -> None:
    model, x, y = problem(4)
    for norm in NORMS:
        result = apgd(model, x, y, Threat(norm, 0.0), steps=5)
        assert not bool(result.fooled.any())
        torch.testing.assert_close(result.x_adv, x)


def test_misclassified_samples_are_not_attacked() -> None:
    model, x, y = problem(6)
    wrong = y.clone()
    wrong[:2] = (y[:2] + 1) % 4
    result = apgd(model, x, wrong, Threat("l2", 1e-6), steps=3)
    assert result.fooled.tolist() == [True, True, False, False, False, False]
    assert result.gradients.tolist() == [0, 0, 3, 3, 3, 3]
    torch.testing.assert_close(result.x_adv, x)


def test_restarts_attack_only_what_stands() -> None:
    model, x, y = problem(8)
    threat = Threat("linf", float(boundary(model, x, y, "linf").median()))
    once = apgd(model, x, y, threat, steps=10, ids=torch.arange(8))
    thrice = apgd(model, x, y, threat, steps=10, restarts=3, ids=torch.arange(8))
    assert bool((thrice.fooled >= once.fooled).all())
    assert bool((thrice.gradients[~thrice.fooled] == 30).all())
    assert torch.equal(thrice.gradients[once.fooled], once.gradients[once.fooled])


def test_all_targets_are_tried_where_asked() -> None:
    model, x, y = problem(3, classes=5)
    result = apgd(model, x, y, Threat("linf", 1e-6), loss="targeted-ce", targets=9, steps=4, restarts=2)
    assert result.gradients.tolist() == [2 * 4 * 4] * 3


def test_a_given_start_is_where_it_begins() -> None:
    model, x, y = problem(4)
    looked: list[Tensor] = []
    start = (x + 0.01).clamp(0, 1)

    def watched(images: Tensor) -> Tensor:
        looked.append(images.detach())
        return model(images)  # type: ignore[no-any-return]

    apgd(watched, x, y, Threat("linf", 0.02), start=start, steps=1, clean=model(x))
    torch.testing.assert_close(looked[0], start)


def test_a_loss_of_the_callers_own_serves() -> None:
    model, x, y = problem(8)
    threat = Threat("l2", float(boundary(model, x, y, "l2").median()))

    def negative_logit(logits: Tensor, labels: Tensor) -> Tensor:
        return -logits.gather(1, labels[:, None]).squeeze(1)

    assert bool(apgd(model, x, y, Threat("l2", 10 * threat.eps), loss=negative_logit, steps=20).fooled.all())


def test_soft_labels_train() -> None:
    model, x, y = problem(4)
    soft = 0.9 * nn.functional.one_hot(y, 4).double() + 0.025
    hard = apgd(model, x, y, Threat("l2", 0.3), steps=20, best_loss=True, seed=3)
    mixed = apgd(model, x, soft, Threat("l2", 0.3), steps=20, best_loss=True, seed=3)
    clean = nn.functional.cross_entropy(model(x), soft, reduction="none").detach()
    assert bool((mixed.loss > clean).all())
    assert not torch.equal(mixed.loss, hard.loss)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_shrink_until_they_settle(norm: Norm) -> None:
    # The loss peaks close to the start, and steps of constant size leap over the peak for ever.
    x = torch.full((3, *SHAPE), 0.5, dtype=torch.float64)
    peak = x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.05

    def closeness(images: Tensor, labels: Tensor) -> Tensor:
        return -(images - peak.flatten(1)).square().sum(1)

    result = apgd(
        nn.Flatten(), x, torch.zeros(3, dtype=torch.int64), Threat(norm, 0.6), loss=closeness, steps=100, best_loss=True
    )
    start = -closeness(x.flatten(1), torch.zeros(3))
    assert bool((-result.loss < 0.5 * start).all())


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_point_seen_comes_back(norm: Norm) -> None:
    model, x, y = problem(4)
    seen: list[Tensor] = []

    def watched(logits: Tensor, labels: Tensor) -> Tensor:
        loss = -(logits - 0.3).square().sum(1)
        seen.append(loss.detach())
        return loss

    result = apgd(model, x, y, Threat(norm, 0.99 if norm == "linf" else 2.0), loss=watched, steps=30, best_loss=True)
    torch.testing.assert_close(result.loss, torch.stack(seen).amax(0), rtol=0, atol=0)
    torch.testing.assert_close(-(model(result.x_adv) - 0.3).square().sum(1).detach(), result.loss)


@pytest.mark.parametrize("norm", NORMS)
def test_equal_seeds_give_equal_attacks(norm: Norm) -> None:
    model, x, y = problem(4)
    state = torch.random.get_rng_state()
    looked: list[Tensor] = []

    def watched(images: Tensor) -> Tensor:
        looked.append(images.detach())
        return model(images)  # type: ignore[no-any-return]

    for seed in (5, 5, 6):
        apgd(watched, x, y, Threat(norm, 0.05), steps=1, best_loss=True, seed=seed)
    assert torch.equal(looked[0], looked[2])
    assert torch.equal(looked[1], looked[3])
    assert not torch.equal(looked[0], looked[4])
    assert torch.equal(state, torch.random.get_rng_state())


def test_mode_and_gradients_of_the_model_are_left_alone() -> None:
    _, x, y = problem(4)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 4)).double().train()
    model[1].eval()
    apgd(model, x, y, Threat("l2", 0.3), steps=3)
    assert [module.training for module in model] == [True, False, True]
    assert all(parameter.grad is None for parameter in model.parameters())


def attack(**options: object) -> None:
    model, x, y = problem(4)
    given: dict[str, object] = {"x": x, "y": y, "threat": Threat("l2", 0.1), "steps": 2} | options
    apgd(model, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"x": torch.full((4, *SHAPE), 1.2, dtype=torch.float64)}, r"expected pixels in \[0, 1\]"),
        ({"x": torch.full((4, *SHAPE), torch.nan, dtype=torch.float64)}, r"expected pixels in \[0, 1\]"),
        ({"y": torch.tensor([0, 1, 2, 4])}, "the model has 4 classes"),
        ({"y": torch.tensor([0, 1])}, "labels of shape"),
        ({"steps": 0}, "at least 1"),
        ({"y": torch.full((4, 4), 0.25, dtype=torch.float64)}, "soft labels"),
        ({"y": torch.full((4, 4), 0.25, dtype=torch.float64), "best_loss": True, "loss": "dlr"}, "soft labels"),
        ({"targets": 0, "loss": "targeted-ce"}, "expected 1 to 9"),
        ({"targets": 10, "loss": "targeted-ce"}, "expected 1 to 9"),
        ({"batch_size": 0}, "a batch size of 0"),
        ({"batch_size": -1, "clean": torch.zeros(4, 4, dtype=torch.float64)}, "a batch size of -1"),
        ({"ids": torch.arange(3)}, r"ids of shape \(3,\) for 4 images"),
        ({"y": torch.zeros(4)}, "expected integers"),
        ({"x": torch.full((4, *SHAPE), 0.5, dtype=torch.float16)}, "expected float32 or float64"),
        ({"start": torch.full((4, *SHAPE), torch.nan, dtype=torch.float64)}, "the start leaves"),
        ({"start": torch.full((4, *SHAPE), 0.5)}, "a start of shape"),
        ({"loss": lambda logits, labels: logits.sum()}, r"the loss has shape \(\) for 4 images"),
        ({"loss": lambda logits, labels: logits[:, :1]}, r"the loss has shape \(4, 1\)"),
        ({"targets": 3, "loss": "ce"}, "a targeted loss"),
        ({"start": torch.zeros(4, *SHAPE, dtype=torch.float64)}, "the start leaves l2:0.1"),
    ],
)
def test_bad_input_is_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        attack(**options)


def test_one_start_serves_one_restart() -> None:
    model, x, y = problem(4)
    with pytest.raises(BadInput, match="restarts=2 from one start"):
        apgd(model, x, y, Threat("l2", 0.1), start=x, restarts=2)
    assert bool((apgd(model, x, y, Threat("l2", 1e-6), start=x, restarts=2, loss="targeted-ce").gradients == 80).all())


def test_a_start_a_rounding_outside_is_brought_in() -> None:
    model, x, y = problem(4)
    apgd(model, x, y, Threat("linf", 0.01), start=x + 0.0100015, steps=2)


@pytest.mark.parametrize("best_loss", [True, False])
def test_switched_off_gradients_do_not_matter(best_loss: bool) -> None:
    model, x, y = problem(6)
    attack = partial(apgd, model, x, y, Threat("l2", 0.3), steps=5, best_loss=best_loss)
    expected = attack()
    with torch.no_grad():
        assert torch.equal(attack().x_adv, expected.x_adv)


def test_images_that_want_gradients_get_none() -> None:
    model, x, y = problem(6)
    wanting = x.clone().requires_grad_()
    result = apgd(model, wanting, y, Threat("l2", 0.3), start=wanting, steps=3, batch_size=2)
    assert not any(column.requires_grad for column in result)
    torch.testing.assert_close(result.x_adv, apgd(model, x, y, Threat("l2", 0.3), start=x, steps=3).x_adv)


def test_logits_of_another_type_serve_with_refill_too() -> None:
    model, x, y = problem(9)
    single = model.float()
    threat = Threat("l2", 0.4)
    whole = apgd(lambda images: single(images.float()), x, y, threat, steps=6)
    parts = apgd(lambda images: single(images.float()), x, y, threat, steps=6, batch_size=2)
    assert torch.equal(whole.fooled, parts.fooled)
    assert bool(whole.fooled.any())


def test_nan_fools_nobody_and_is_told() -> None:
    model, x, y = problem(6)

    def breaks(images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        return logits if images.shape == x.shape and torch.equal(images, x) else logits * torch.nan

    with pytest.warns(MaskedGradients) as told:
        result = apgd(breaks, x, y, Threat("l2", 5.0), steps=3, clean=model(x))
    assert any("NaN or infinite logits" in str(each.message) for each in told)
    assert not bool(result.fooled.any())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("norm", NORMS)
def test_where_the_model_breaks_is_not_the_highest_loss(norm: Norm, value: float) -> None:
    model, x, y = problem(6)
    other = (y + 1) % 4

    def breaks(images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        far = (images - x).abs().flatten(1).amax(1) > 0.05
        broken = logits.scatter(1, other[:, None], value)
        return torch.where(far[:, None], broken, logits)

    with pytest.warns(MaskedGradients) as told:
        result = apgd(breaks, x, y, Threat(norm, 0.8), steps=12, best_loss=True)
    assert any("NaN or infinite logits" in str(each.message) for each in told)
    assert bool(torch.isfinite(result.loss[result.loss > -torch.inf]).all())
    assert bool(torch.isfinite(breaks(result.x_adv)).all())


def test_restarts_of_training_do_not_repeat_the_next_step() -> None:
    model, x, y = problem(3)
    looked: list[Tensor] = []

    def watched(images: Tensor) -> Tensor:
        looked.append(images.detach())
        return model(images)  # type: ignore[no-any-return]

    for seed in (0, 1):
        apgd(watched, x, y, Threat("l2", 0.3), steps=1, restarts=2, best_loss=True, seed=seed)
    starts = looked[::2]
    assert len(starts) == 4
    assert not any(torch.equal(starts[one], starts[other]) for one in range(4) for other in range(one))


def test_an_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'targeted-dlr'"):
        attack(loss="target-dlr")


def test_kl_from_the_clean_point_is_refused() -> None:
    model, x, y = problem(4)
    with pytest.raises(BadInput, match="zero gradient at the clean image"):
        apgd(model, x, y, Threat("l2", 0.1), loss="kl", start=x)


def test_losses_that_two_classes_leave_undefined_name_another() -> None:
    model, x, y = problem(4, classes=2)
    with pytest.raises(BadInput, match="use loss='ce'"):
        apgd(model, x, y, Threat("l2", 0.1), loss="dlr")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
def test_a_real_network_loses_accuracy_and_stays_in_the_threat(
    robust_model: PixelClassifier, few: Samples, norm: Norm, loss: str
) -> None:
    threat = Threat(norm, {"linf": 0.15, "l2": 0.8, "l1": 3.0}[norm])
    result = apgd(robust_model, few.x, few.y, threat, loss=loss, steps=20, ids=few.ids)
    assert 0.1 < float(result.fooled.float().mean()) <= 1
    assert bool((distance(result.x_adv, few.x, norm) <= threat.eps * (1 + 1e-5)).all())
    assert float(result.x_adv.min()) >= 0
    assert float(result.x_adv.max()) <= 1
    assert torch.equal(robust_model(result.x_adv).argmax(1) != few.y, result.fooled)


def test_more_steps_and_radius_never_help_the_defender(robust_model: PixelClassifier, few: Samples) -> None:
    def robust(eps: float) -> Outcomes:
        return evaluate(robust_model, few, attack=partial(apgd, steps=20), threat=Threat("linf", eps))

    shares = [float(robust(eps).robust.mean()) for eps in (0.0, 0.05, 0.1, 0.2, 0.4)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[2] > shares[-1]
