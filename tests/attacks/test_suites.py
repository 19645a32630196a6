from functools import partial

import pytest

from seasoning.attacks import SUITES, apgd, describe, suite_attack
from seasoning.errors import UnknownName
from seasoning.threat import NORMS


def test_the_default_protocol_is_the_papers() -> None:
    options = {norm: suite_attack("default", norm).keywords for norm in NORMS}
    assert options["linf"] == options["l2"] == {"loss": "dlr", "steps": 40}
    assert options["l1"] == {"loss": "ce", "steps": 40}


def test_the_strong_protocol_is_the_papers() -> None:
    options = {norm: suite_attack("strong", norm).keywords for norm in NORMS}
    assert options["linf"] == options["l2"] == {"loss": "targeted-dlr", "steps": 100, "restarts": 5}
    assert options["l1"] == {"loss": "ce", "steps": 100, "restarts": 5}


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
