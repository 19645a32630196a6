"""Named evaluation protocols: which attack stands for each threat.

For l_inf and l_2 `default` and `strong` are those of *Seasoning model soups*. For l_1 they have its steps and restarts,
and two differences: a cross-entropy that does not depend on the scale of the logits (docs/design/014), and a first try
at the radius itself (docs/design/007). `thorough`, of our own, lies between them, to check in seconds how much
`default` overstates. `standard` is the ensemble that leaderboards of robust models report, with our AutoPGD; for l_1
with the scaled cross-entropy.

Sources: Croce et al. 2023, *Seasoning model soups*, appendix B.2; Croce & Hein 2020, *Reliable evaluation of
adversarial robustness*, section 6; for its l_1 form Croce & Hein 2021, *Mind the box*.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from seasoning.attacks.apgd import LOSSES, PRECISIONS, apgd
from seasoning.attacks.autoattack import fab, require_package, square
from seasoning.attacks.base import Attack, AttackResult
from seasoning.attacks.worst_case import members, strongest
from seasoning.errors import UnknownName
from seasoning.losses import ATTACK_LOSSES
from seasoning.threat import Norm


__all__ = ["SUITES", "suite_attack", "with_options"]

_STANDARD = (
    partial(apgd, loss="ce", steps=100),
    partial(apgd, loss="targeted-dlr", steps=100, targets=9),
    partial(fab, steps=100, targets=9),
    partial(square, queries=5000),
)

SUITES: dict[str, dict[Norm, partial[AttackResult]]] = {
    "default": {
        "linf": partial(apgd, loss="dlr", steps=40),
        "l2": partial(apgd, loss="dlr", steps=40),
        "l1": partial(apgd, loss="scaled-ce", steps=40),
    },
    "thorough": {
        "linf": partial(apgd, loss="targeted-dlr", steps=40, restarts=3),
        "l2": partial(apgd, loss="targeted-dlr", steps=40, restarts=3),
        "l1": partial(apgd, loss="scaled-ce", steps=40, restarts=3),
    },
    "strong": {
        "linf": partial(apgd, loss="targeted-dlr", steps=100, restarts=5),
        "l2": partial(apgd, loss="targeted-dlr", steps=100, restarts=5),
        "l1": partial(apgd, loss="scaled-ce", steps=100, restarts=5),
    },
    "standard": {
        "linf": strongest(*_STANDARD),
        "l2": strongest(*_STANDARD),
        "l1": strongest(
            partial(apgd, loss="scaled-ce", steps=100, restarts=5),
            partial(apgd, loss="targeted-dlr", steps=100, targets=5),
            *_STANDARD[2:],
        ),
    },
}


def suite_attack(
    suite: str, norm: Norm, *, loss: str | None = None, steps: int | None = None, precision: str = "full"
) -> partial[AttackResult]:
    """The configured attack that a named suite uses for a norm.

    Args:
        suite: A key of `SUITES`.
        norm: Norm of the threat.
        loss: Loss of its AutoPGD attacks instead of the suite's own, for models of too few classes for DLR.
        steps: Steps of its attacks instead of the suite's own.
        precision: With `"bf16"` its AutoPGD attacks go first with passes in bfloat16; the suite itself follows on those
            left standing, so that the numbers are those of full precision.

    Raises:
        UnknownName: there is no such suite, loss or precision.
        BadInput: the suite needs a package that is not installed.
    """
    if suite not in SUITES:
        raise UnknownName("attack suite", suite, SUITES)
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if loss is not None and loss not in LOSSES:
        raise UnknownName("loss", loss, LOSSES)
    given: dict[str, Any] = {} if steps is None else {"steps": steps}
    if loss is not None:
        given |= {"loss": loss} if "target" in ATTACK_LOSSES[loss].takes else {"loss": loss, "targets": None}
    attack = with_options(SUITES[suite][norm], apgd, **given)
    if any(member.func in (fab, square) for member in members(attack)):
        require_package()
    if precision == "full":
        return attack
    rough = [with_options(member, apgd, precision=precision) for member in members(attack) if member.func is apgd]
    return strongest(*rough, *members(attack))


def with_options(attack: Attack, function: Callable[..., AttackResult], **options: Any) -> partial[AttackResult]:
    """The same attack with options of one function changed; in a sequence, wherever that function stands."""
    parts = [partial(part, **options) if part.func is function else part for part in members(attack)]
    return parts[0] if len(parts) == 1 else strongest(*parts)
