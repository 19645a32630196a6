"""What every attack takes and gives."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from torch import Tensor

from seasoning.threat import Threat


__all__ = ["Attack", "AttackResult", "Classifier", "describe"]

Classifier = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] -> logits (B, K)


class AttackResult(NamedTuple):
    """What an attack found, sample by sample.

    Args:
        x_adv: The fooling image, or the clean one where none was found; in best-loss mode the image of highest loss,
            `(B, C, H, W)` in [0, 1].
        fooled: Whether `x_adv` is misclassified, `(B,)`.
        loss: Highest loss met, `(B,)`; minus infinity where nothing was tried.
        gradients: Gradients used, `(B,)`.
    """

    x_adv: Tensor
    fooled: Tensor
    loss: Tensor
    gradients: Tensor


class Attack(Protocol):
    """A search for a misclassified image inside a threat; a configured one is `partial(apgd, steps=40)`."""

    def __call__(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        *,
        ids: Tensor | None = None,
        seed: int = 0,
    ) -> AttackResult:
        """Attack images `(B, C, H, W)` in [0, 1] with classes `(B,)`; equal ids and seeds give equal starts."""
        ...


def describe(attack: Callable[..., AttackResult]) -> str:
    """Name and options of a configured attack, defaults included, such as `"apgd(loss=dlr, …, steps=40)"`.

    Two attacks with the same description do the same, so it can stand for the attack in a record.
    """
    function = attack.func if isinstance(attack, partial) else attack
    given = attack.keywords if isinstance(attack, partial) else {}
    parameters = inspect.signature(function).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
    # Ids and the seed belong to the measurement, not to the attack.
    options = {name: value for name, value in (defaults | given).items() if name not in ("ids", "seed")}
    name = getattr(function, "__name__", type(function).__name__)
    return f"{name}({', '.join(f'{option}={options[option]}' for option in sorted(options))})"
