from functools import partial

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import SUITES, apgd, describe, fab, square, strongest, suite_attack
from seasoning.attacks.worst_case import members
from seasoning.data import Samples
from seasoning.errors import BadInput, UnknownName
from seasoning.threat import NORMS, Norm, Threat


RADII: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}


def test_the_default_protocol_is_the_papers_up_to_the_scale_of_logits_in_l1() -> None:
    options = {norm: suite_attack("default", norm).keywords for norm in NORMS}
    assert options["linf"] == options["l2"] == {"loss": "dlr", "steps": 40}
    assert options["l1"] == {"loss": "scaled-ce", "steps": 40}
    assert suite_attack("default", "l1", loss="ce").keywords == {"loss": "ce", "steps": 40, "targets": None}


def test_the_strong_protocol_is_the_papers_up_to_the_scale_of_logits_in_l1() -> None:
    options = {norm: suite_attack("strong", norm).keywords for norm in NORMS}
    assert options["linf"] == options["l2"] == {"loss": "targeted-dlr", "steps": 100, "restarts": 5}
    assert options["l1"] == {"loss": "scaled-ce", "steps": 100, "restarts": 5}


@pytest.mark.parametrize("factor", [2**-12, 2**12])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("suite", ["default", "thorough"])
def test_the_scale_of_the_logits_does_not_matter(
    robust_model: nn.Module, few: Samples, suite: str, norm: Norm, factor: float
) -> None:
    attack = suite_attack(suite, norm, steps=12)
    measure = partial(attack, x=few.x, y=few.y, threat=Threat(norm, RADII[norm]), ids=few.ids)
    expected, found = measure(robust_model), measure(lambda x: factor * robust_model(x))
    assert 0.1 < float(expected.fooled.double().mean()) < 0.9
    assert torch.equal(found.fooled, expected.fooled)
    torch.testing.assert_close(found.x_adv, expected.x_adv, rtol=0, atol=1e-4)


def test_every_suite_has_every_norm() -> None:
    assert all(set(suite) == set(NORMS) for suite in SUITES.values())


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'strong'"):
        suite_attack("strng", "l2")


def test_descriptions_tell_defaults_too_and_are_equal_for_equal_attacks() -> None:
    attack = partial(apgd, steps=40, loss="dlr")
    assert describe(attack) == describe(partial(apgd, loss="dlr")) == describe(partial(attack, restarts=1))
    assert "restarts=1" in describe(attack)
    assert len({describe(attack), describe(partial(attack, steps=41)), describe(apgd)}) == 3


def own_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.sum(1)


def test_descriptions_tell_options_apart_and_last() -> None:
    starts = [torch.zeros(2, 1, 40, 40), torch.zeros(2, 1, 40, 40)]
    starts[1][0, 0, 20, 20] = 1
    assert describe(partial(apgd, start=starts[0])) != describe(partial(apgd, start=starts[1]))
    assert describe(partial(apgd, start=starts[0])) == describe(partial(apgd, start=starts[0].clone()))
    assert "test_suites.own_loss" in describe(partial(apgd, loss=own_loss))
    assert describe(strongest(apgd, partial(apgd, loss="dlr"))).count("steps=40") == 2
    assert describe(strongest(apgd, strongest(apgd))) == describe(strongest(apgd, apgd))
    one, two = torch.ones(1), torch.full((1,), 2.0)
    assert "own_loss(labels=" in describe(partial(apgd, loss=partial(own_loss, labels=one)))
    assert describe(partial(apgd, loss=partial(own_loss, one))) != describe(partial(apgd, loss=partial(own_loss, two)))
    with pytest.raises(BadInput, match="no name that lasts"):
        describe(partial(apgd, loss=lambda logits, labels: logits.sum(1)))


def test_a_loss_takes_the_place_of_the_suites_own() -> None:
    for suite in SUITES:
        for norm in NORMS:
            for loss in ("ce", "targeted-ce"):
                own = [each for each in members(suite_attack(suite, norm, loss=loss)) if each.func is apgd]
                assert [each.keywords["loss"] for each in own] == [loss] * len(own)
                assert all(loss != "ce" or each.keywords.get("targets") is None for each in own)
    with pytest.raises(UnknownName, match="did you mean 'dlr'"):
        suite_attack("default", "l2", loss="dlrr")


def test_bfloat16_goes_ahead_of_the_whole_suite() -> None:
    parts = members(suite_attack("standard", "l2", precision="bf16"))
    assert [each.func for each in parts] == [apgd, apgd, apgd, apgd, fab, square]
    assert [each.keywords.get("precision") for each in parts[:4]] == ["bf16", "bf16", None, None]
