"""What every attack takes and gives."""

import hashlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from seasoning.errors import BadInput
from seasoning.threat import Threat


__all__ = ["Attack", "AttackResult", "Classifier", "describe"]

Classifier = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] -> logits (B, K)

# What belongs to a measurement or changes nothing but its speed, and so is no part of what an attack is.
_CIRCUMSTANCES = ("ids", "seed", "batch_size", "clean")


class AttackResult(NamedTuple):
    """What an attack found, sample by sample.

    Args:
        x_adv: The fooling image, or the clean one where none was found; in best-loss mode the image of highest loss,
            `(B, C, H, W)` in [0, 1].
        fooled: Whether `x_adv` is misclassified, `(B,)`.
        loss: Highest loss met, `(B,)`; minus infinity where nothing was tried.
        distance: Size of the perturbation in the threat's norm, `(B,)`.
        gradients: Gradients used, `(B,)`.
        forwards: Forward passes used, with or without a gradient, the clean check included, `(B,)`.
    """

    x_adv: Tensor
    fooled: Tensor
    loss: Tensor
    distance: Tensor
    gradients: Tensor
    forwards: Tensor


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
        batch_size: int | None = None,
        clean: Tensor | None = None,
    ) -> AttackResult:
        """Attack images `(B, C, H, W)` in [0, 1] with classes `(B,)`; equal ids and seeds give equal starts.

        About `batch_size` of the images, by default all, are in the model at a time. `clean` are the model's logits at
        `x`, `(B, K)`, where the caller has them and has checked the model: they save the clean check.
        """
        ...


def describe(attack: Callable[..., Any]) -> str:
    """Name and options of a configured attack, defaults included, such as `"apgd(loss=dlr, …, steps=40)"`.

    Two attacks with the same description do the same, so it can stand for the attack in a record.

    Raises:
        BadInput: an option has no name that lasts, such as a function without one.
    """
    function = attack.func if isinstance(attack, partial) else attack
    given = attack.keywords if isinstance(attack, partial) else {}
    parameters = inspect.signature(function).parameters.values()
    defaults = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    options = {name: value for name, value in (defaults | given).items() if name not in _CIRCUMSTANCES}
    name = getattr(function, "__name__", type(function).__name__).lstrip("_")
    first = [_text(value) for value in attack.args] if isinstance(attack, partial) else []
    return f"{name}({', '.join([*first, *(f'{option}={_text(options[option])}' for option in sorted(options))])})"


def _text(value: Any) -> str:
    """An option in words that are the same in every process."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, partial):
        return describe(value)
    if isinstance(value, Tensor):
        return hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    if not callable(value):
        return str(value)
    name = getattr(value, "__qualname__", "<unnamed>")
    if "<" in name:
        raise BadInput(f"{value} has no name that lasts: define it as a function of a module")
    return f"{value.__module__}.{name}"
