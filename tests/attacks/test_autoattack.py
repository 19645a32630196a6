"""FAB-T and Square by their authors' package, behind the contract of every attack."""

import sys
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import Attack, MaskedGradients, apgd, fab, square, strongest, suite_attack
from seasoning.attacks.suites import with_options
from seasoning.attacks.worst_case import members
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.geometry import distance
from seasoning.models import PixelClassifier
from seasoning.threat import NORMS, Norm, Threat
from tests.attacks.test_apgd import boundary, problem


RADII: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}
ATTACKS: dict[str, Attack] = {
    "fab": partial(fab, steps=10, targets=3, block=16),
    "square": partial(square, queries=150, block=16),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("norm", NORMS)
def test_finds_fool_inside_the_threat(robust_model: PixelClassifier, few: Samples, norm: Norm, name: str) -> None:
    threat = Threat(norm, RADII[norm])
    result = ATTACKS[name](robust_model, few.x, few.y, threat, ids=few.ids)
    clean_wrong = robust_model(few.x).argmax(1) != few.y
    assert int(result.fooled.sum()) > int(clean_wrong.sum())
    assert bool((distance(result.x_adv, few.x, norm) <= threat.eps * (1 + 1e-4)).all())
    assert torch.equal(robust_model(result.x_adv).argmax(1) != few.y, result.fooled)
    torch.testing.assert_close(result.distance, distance(result.x_adv, few.x, norm))
    assert torch.equal(result.loss > 0, result.fooled)
    assert torch.equal(result.x_adv[~result.fooled], few.x[~result.fooled])


def test_it_succeeds_exactly_beyond_the_known_distance() -> None:
    model, x, y = problem(4)
    x, model = x.float(), model.float()
    away = boundary(model, x, y, "l2")
    for i in range(4):
        one = slice(i, i + 1)
        attack = partial(fab, model, x[one], y[one], targets=9)
        assert not bool(attack(Threat("l2", 0.98 * float(away[i]))).fooled)
        assert bool(attack(Threat("l2", 1.1 * float(away[i]))).fooled)


@pytest.mark.parametrize("name", ATTACKS)
def test_outcomes_can_be_repeated_in_any_order_and_no_random_state_is_touched(
    robust_model: PixelClassifier, few: Samples, name: str
) -> None:
    attack = partial(ATTACKS[name], robust_model, threat=Threat("linf", 0.06), seed=4)
    state = torch.random.get_rng_state()
    first = attack(few.x, few.y, ids=few.ids)
    torch.random.manual_seed(99)
    order = torch.randperm(len(few), generator=torch.Generator().manual_seed(0))
    again = attack(few.x[order], few.y[order], ids=few.ids[order])
    assert torch.equal(first.x_adv[order], again.x_adv)
    assert torch.equal(first.forwards.sum(), again.forwards.sum())
    torch.random.set_rng_state(state)
    attack(few.x, few.y, ids=few.ids)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ATTACKS)
def test_passes_are_counted(robust_model: PixelClassifier, few: Samples, name: str) -> None:
    forwards = 0

    def watched(x: Tensor) -> Tensor:
        nonlocal forwards
        forwards += len(x)
        return robust_model(x)  # type: ignore[no-any-return]

    clean = robust_model(few.x).detach()
    result = ATTACKS[name](watched, few.x, few.y, Threat("linf", 0.06), ids=few.ids, clean=clean)
    assert int(result.forwards.sum()) == forwards
    assert bool((result.gradients > 0).any()) == (name == "fab")
    assert bool((result.forwards[clean.argmax(1) != few.y] == 0).all())


@pytest.mark.parametrize("name", ATTACKS)
def test_a_block_goes_into_the_model_in_batches(robust_model: PixelClassifier, few: Samples, name: str) -> None:
    sizes: list[int] = []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return robust_model(x)  # type: ignore[no-any-return]

    attack = partial(ATTACKS[name], watched, few.x, few.y, Threat("linf", 0.06), ids=few.ids)
    together, apart = attack(), attack(batch_size=5)
    assert max(sizes) > 5
    sizes.clear()
    attack(batch_size=5)
    assert max(sizes) == 5
    assert float((together.fooled == apart.fooled).float().mean()) >= 0.95
    assert torch.equal(together.gradients > 0, apart.gradients > 0)


@pytest.mark.parametrize("name", ATTACKS)
def test_nan_is_no_find(robust_model: PixelClassifier, few: Samples, name: str) -> None:
    def breaks(x: Tensor) -> Tensor:
        logits: Tensor = robust_model(x)
        moved = (x[:, None] != few.x[None]).flatten(2).any(2).all(1)
        return torch.where(moved[:, None], torch.nan, logits)

    clean = robust_model(few.x).detach()
    with pytest.warns(MaskedGradients, match="NaN or infinite logits"):
        result = ATTACKS[name](breaks, few.x, few.y, Threat("linf", 0.3), ids=few.ids, clean=clean)
    assert torch.equal(result.fooled, clean.argmax(1) != few.y)


def test_without_the_package_the_extra_is_named(few: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    monkeypatch.setitem(sys.modules, "pyautoattack.square", None)
    with pytest.raises(BadInput, match=r"pip install 'seasoning\[standard\]'"):
        square(nn.Flatten(), few.x, few.y, Threat("linf", 0.1))
    with pytest.raises(BadInput, match=r"pip install 'seasoning\[standard\]'"):
        suite_attack("standard", "l2")


@pytest.mark.parametrize("norm", NORMS)
def test_the_standard_suite_is_at_least_as_strong_as_its_first_attack(
    robust_model: PixelClassifier, few: Samples, norm: Norm
) -> None:
    attack = with_options(suite_attack("standard", norm, steps=6), fab, steps=6, block=16)
    attack = with_options(attack, square, queries=50, block=16)
    first = members(attack)[0]
    threat, ids = Threat(norm, 0.6 * RADII[norm]), few.ids
    alone, suite = (
        first(robust_model, few.x, few.y, threat, ids=ids),
        attack(robust_model, few.x, few.y, threat, ids=ids),
    )
    assert bool((suite.fooled >= alone.fooled).all())
    assert 0 < int((~suite.fooled).sum()) < len(few)
    # Who fell to the first attack meets no other.
    assert torch.equal(suite.forwards[alone.fooled], alone.forwards[alone.fooled])
    assert bool((suite.forwards[~suite.fooled] > 100).all())


def test_each_attack_sees_only_what_stands(robust_model: PixelClassifier, few: Samples) -> None:
    met: list[set[int]] = []

    def watching(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, **circumstances: Tensor) -> object:
        met.append(set(circumstances["ids"].tolist()))
        return apgd(model, x, y, threat, steps=3, **circumstances)  # type: ignore[arg-type]

    attack = strongest(watching, partial(apgd, steps=10), watching)  # type: ignore[arg-type]
    threat = Threat("linf", 0.06)
    result = attack(robust_model, few.x, few.y, threat, ids=few.ids)
    clean_right = set(few.ids[robust_model(few.x).argmax(1) == few.y].tolist())
    assert met[0] == clean_right
    assert set(few.ids[~result.fooled].tolist()) <= met[1] < met[0]
    single = apgd(robust_model, few.x, few.y, threat, steps=10, ids=few.ids)
    assert bool((result.fooled >= single.fooled).all())
    assert bool((robust_model(result.x_adv).argmax(1) != few.y)[result.fooled].all())
    # One clean pass in all, however many attacks follow.
    assert bool((result.forwards[~result.fooled] == 1 + 4 + 11 + 4).all())


def test_no_attacks_are_no_worst_case() -> None:
    with pytest.raises(BadInput, match="at least one"):
        strongest()
