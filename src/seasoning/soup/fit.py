"""Do ingredients fit together? Names, shapes and types, what tensors mean, and which of them have no mean."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from seasoning.checkpoints.constants import alike, is_short, pairs
from seasoning.checkpoints.load import State
from seasoning.errors import BadInput, Mismatch


__all__ = [
    "first_difference",
    "is_finite",
    "is_variance",
    "names_for",
    "require_fit",
    "require_linear",
    "require_same_constants",
]

# Running variances go by many names; a logarithm of one may be negative, and is none.
_TRACKED = r"(?:running|moving|batch|ema|global|population|pop|tracked|stored)_"
_VARIANCE = re.compile(
    rf"(?:.*[._])?(?:(?:{_TRACKED})?(?:vars?|variances?|sigma2)|{_TRACKED}(?:std|stds|stddev|sigma))"
    r"(?:[._](?:ema|avg|average))*_?\d*"
)
_NO_VARIANCE = re.compile(r"(?:.*[._])?(?:log|ln)_?(?:vars?|variances?|sigma2)\d*")
# Low-rank and multiplicative adapters: the network adds the product of two of these to a parameter, or scales it.
_ADAPTER = re.compile(
    r"(?:.*[._])?(?:lora|loha|lokr|hada|ia3|vera|oft|boft|dora)(?:[._].*|[A-Z]\b.*)?|(?:.*\.)?linear_[ab]_[qkv]\..*"
)
_HOW = "merge them into the parameters that they make, and mix these"


def names_for(ingredients: Sequence[object], names: Sequence[str] | None) -> list[str]:
    """What errors call the ingredients.

    Raises:
        BadInput: there is not one name for each.
    """
    called = [f"ingredient {index}" for index in range(1, len(ingredients) + 1)] if names is None else list(names)
    if len(called) != len(ingredients):
        raise BadInput(f"{len(called)} names for {len(ingredients)} ingredients: give one for each")
    return called


def require_fit(states: Sequence[State], names: Sequence[str] | None = None) -> None:
    """Refuse parameters that do not fit together.

    Args:
        states: Names and tensors of each.
        names: What errors call them; by default `"ingredient 1"` and so on.

    Raises:
        Mismatch: names the first differing tensor and both shapes.
    """
    called = names_for(states, names)
    for state, name in zip(states[1:], called[1:], strict=True):
        difference = first_difference(states[0], state, called[0], name)
        if difference:
            raise Mismatch(f"{difference}: mix copies of one architecture")


def first_difference(one: State, other: State, name_one: str, name_other: str) -> str | None:
    """The first tensor, in order, that only one of the two has or that differs in shape or type, in words."""
    if one is other:
        return None
    for key in [*one, *(key for key in other if key not in one)]:
        for name, holder, lacking in ((name_one, one, other), (name_other, other, one)):
            if key not in lacking:
                return f"tensor {key!r} of shape {tuple(holder[key].shape)} is only in {name}"
        a, b = one[key], other[key]
        if a.shape != b.shape:
            return f"tensor {key!r} has shape {tuple(a.shape)} in {name_one} and {tuple(b.shape)} in {name_other}"
        if a.dtype != b.dtype:
            return f"tensor {key!r} has type {a.dtype} in {name_one} and {b.dtype} in {name_other}"
    return None


def require_same_constants(states: Sequence[State], names: Sequence[str]) -> None:
    """Refuse tensors that are normalization constants, by their names, and differ: their mean is right for no model.

    Args:
        states: Of one form.
        names: What errors call them.

    Raises:
        Mismatch: names the tensor and both values.
    """
    for key in [name for pair in pairs(states[0]) for name in pair if is_short(states[0][name])]:
        first = states[0][key].flatten().tolist()
        for state, name in zip(states[1:], names[1:], strict=True):
            other = state[key].flatten().tolist()
            if not alike(first, other):
                raise Mismatch(
                    f"{names[0]} normalizes images with {key!r} {first} and {name} with {other}: "
                    "mix copies that see the same"
                )


def require_linear(names: Iterable[str]) -> None:
    """Refuse parameters that a network makes as products of several: a mean of factors is no mean of products.

    Raises:
        Mismatch: names the tensors and what they are of.
    """
    found = _factors(tuple(names))
    if found is not None:
        tensors, what = found
        listed = " and ".join(map(repr, tensors))
        raise Mismatch(
            f"{listed} are factors of {what}, and mixed factor by factor their product is not the mix: {_HOW}"
        )


@lru_cache(maxsize=64)
def _factors(names: tuple[str, ...]) -> tuple[tuple[str, ...], str] | None:
    """Tensors of which a network makes one parameter, and what that is called; `None` where there are none."""
    known = set(names)
    adapters = [name for name in names if _ADAPTER.fullmatch(name)]
    if adapters:
        return tuple(adapters[:2]), "a low-rank or multiplicative adapter"
    parametrized = [name for name in names if name.startswith("parametrizations.") or ".parametrizations." in name]
    if parametrized:
        return tuple(parametrized[:2]), "a parametrized layer, such as one of weight or spectral norm"
    for name in names:
        stem = name[:-2]
        if name.endswith("_g") and f"{stem}_v" in known and stem not in known:
            return (name, f"{stem}_v"), "weight norm"
        stem = name.removesuffix("_orig")
        for end, what in (("_u", "spectral norm"), ("_mask", "a pruned layer")):
            if stem != name and f"{stem}{end}" in known:
                return (name, f"{stem}{end}"), what
    return None


@lru_cache(maxsize=2**16)
def is_variance(name: str) -> bool:
    """Whether a tensor of this name holds running variances."""
    return _VARIANCE.fullmatch(name) is not None and _NO_VARIANCE.fullmatch(name) is None


def is_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    if not values.is_floating_point():
        return True
    wide = comparable(values)
    # NaN and infinite values show in the sum, which takes a tenth of the time; it may overflow without them.
    return bool(torch.isfinite(wide.sum())) or bool(torch.isfinite(wide).all())


def comparable(values: Tensor) -> Tensor:
    """The values in a type that has arithmetic; floating types of one byte have none of their own."""
    return values.float() if values.element_size() == 1 else values
