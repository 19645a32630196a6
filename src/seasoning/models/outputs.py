"""What networks return: logits, or something that they are clearly in."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from seasoning.errors import BadInput


__all__ = ["logits_in"]

_NAME = "logits"


def logits_in(output: Any, like: Tensor, classes: int | None = None) -> Tensor:
    """The logits in what a network returns, in the type of its images.

    They are the output itself, what goes by the name of logits in it, the only tensor in it, or the only one that has a
    number for each class of each image.

    Args:
        output: A tensor, or a mapping, a sequence or an object with tensors.
        like: The images, `(B, C, H, W)`, whose type the logits get: attacks compute in one type.
        classes: Number of classes, where it is known.

    Raises:
        BadInput: there are no tensors, or several of which none or more than one can be the logits; or they are no
            fractions.
    """
    logits = output if isinstance(output, Tensor) else _only(output, (len(like), classes))
    if not logits.is_floating_point():
        raise BadInput(
            f"the network returns numbers of type {logits.dtype}: expected logits, as floating-point numbers"
        )
    return logits.to(like.dtype)


def _only(output: Any, shape: tuple[int, int | None]) -> Tensor:
    parts = _parts(output)
    if isinstance(parts.get(_NAME), Tensor):
        named: Tensor = parts[_NAME]
        return named
    tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
    alike = (
        tensors if len(tensors) == 1 else {name: tensor for name, tensor in tensors.items() if tensor.shape == shape}
    )
    if len(alike) == 1:
        return next(iter(alike.values()))
    kind = type(output).__name__
    held = ", ".join(f"{name} of shape {tuple(tensor.shape)}" for name, tensor in tensors.items()) or "no tensor"
    raise BadInput(
        f"the network returns a {kind} with {held}: have it return the logits (B, K) alone, or under the name {_NAME!r}"
    )


def _parts(output: Any) -> Mapping[str, Any]:
    """The parts of an output by name, or by index where they have none."""
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if isinstance(output, Sequence) and not isinstance(output, (str, bytes)):
        names = getattr(output, "_fields", None) or [f"item {index}" for index in range(len(output))]
        return dict(zip(names, output, strict=True))
    names = [*getattr(output, "__dict__", ()), *getattr(type(output), "__slots__", ())]
    return {name: getattr(output, name) for name in names if hasattr(output, name)}
