"""Named evaluation protocols: which attack stands for each threat.

`default` and `strong` are the paper's; `thorough` lies between them, to check in seconds how much `default` overstates.

Source: Croce et al. 2023, *Seasoning model soups*, appendix B.2.
"""

from functools import partial

from seasoning.attacks.apgd import apgd
from seasoning.attacks.base import AttackResult
from seasoning.errors import UnknownName
from seasoning.threat import Norm


__all__ = ["SUITES", "suite_attack"]

SUITES: dict[str, dict[Norm, partial[AttackResult]]] = {
    "default": {
        "linf": partial(apgd, loss="dlr", steps=40),
        "l2": partial(apgd, loss="dlr", steps=40),
        "l1": partial(apgd, loss="ce", steps=40),
    },
    "thorough": {
        "linf": partial(apgd, loss="targeted-dlr", steps=40, restarts=3),
        "l2": partial(apgd, loss="targeted-dlr", steps=40, restarts=3),
        "l1": partial(apgd, loss="ce", steps=40, restarts=3),
    },
    "strong": {
        "linf": partial(apgd, loss="targeted-dlr", steps=100, restarts=5),
        "l2": partial(apgd, loss="targeted-dlr", steps=100, restarts=5),
        "l1": partial(apgd, loss="ce", steps=100, restarts=5),
    },
}


def suite_attack(suite: str, norm: Norm) -> partial[AttackResult]:
    """The configured attack that a named suite uses for a norm.

    Raises:
        UnknownName: there is no such suite.
    """
    if suite not in SUITES:
        raise UnknownName("attack suite", suite, SUITES)
    return SUITES[suite][norm]
