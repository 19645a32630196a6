"""The algebra of soups: theta = sum_i w_i theta_i over every parameter and floating buffer.

Sources: Croce et al. 2023, *Seasoning model soups*, section 3; Wortsman et al. 2022, *Model soups*.
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from seasoning.checkpoint import State, fingerprint, load_ingredient, save_state
from seasoning.errors import BadInput, Mismatch


__all__ = ["first_difference", "mix", "mix_files", "require_fit", "require_weights", "soup_metadata"]

_SUM_TOLERANCE = 1e-6


def mix(ingredients: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """One set of parameters from several: the weighted sum of every floating tensor, in float64.

    Convex (all weights at least 0) or affine (any weights of sum 1). An ingredient of weight 0 must fit and adds
    nothing; weight 1 returns the ingredient bit for bit. Of batch-norm's counters the largest is taken; other integer
    buffers must agree.

    Args:
        ingredients: Mappings from names to tensors, all with the same names, shapes and types.
        weights: One number for each, of sum 1.

    Returns:
        Names to tensors of the ingredients' own types, on their device.

    Raises:
        Mismatch: names, shapes, types or integer buffers differ; the first difference is named.
        BadInput: the weights are not finite, do not sum to 1 or are not one for each; or the result is not finite or
            has a negative running variance.
    """
    require_weights(weights, len(ingredients))
    require_fit(ingredients)
    return dict(_mixed(ingredients, weights))


def mix_files(paths: Sequence[str | Path], weights: Sequence[float], out: str | Path) -> Path:
    """Mix checkpoints on disk into one safetensors file, tensor by tensor.

    Ingredients are read lazily, so that beside the soup one tensor of each is in memory. The soup's metadata holds
    the weights and the fingerprints of the ingredients.

    Returns:
        `out`.

    Raises:
        As `mix` and `load_ingredient`; and BadInput if `out` exists. Nothing is written then.
    """
    target = Path(out)
    if target.exists():
        raise BadInput(f"{target} exists: choose another name for the soup, or remove it first")
    states = [load_ingredient(path) for path in paths]
    soup = mix(states, weights)
    save_state(soup, target, soup_metadata([fingerprint(state) for state in states], weights))
    return target


def soup_metadata(fingerprints: Sequence[str], weights: Sequence[float]) -> dict[str, str]:
    """What a soup's file says of its making: fingerprints of the ingredients and their weights."""
    recipe = {"ingredients": list(fingerprints), "weights": [float(weight) for weight in weights]}
    return {"seasoning.soup": json.dumps(recipe)}


def require_weights(weights: Sequence[float], count: int) -> None:
    """Refuse weights that are not finite, not of sum 1, or not one for each ingredient.

    Raises:
        BadInput: naming what is wrong.
    """
    if count == 0:
        raise BadInput("a soup of no ingredients: give at least one")
    if len(weights) != count:
        raise BadInput(f"{len(weights)} weights for {count} ingredients: give one for each")
    if not all(math.isfinite(weight) for weight in weights):
        raise BadInput(f"weights {tuple(weights)}: expected finite numbers")
    if abs(math.fsum(weights) - 1) > _SUM_TOLERANCE:
        raise BadInput(f"weights {tuple(weights)} sum to {math.fsum(weights):.6g}: expected 1")


def require_fit(states: Sequence[State]) -> None:
    """Refuse parameters that do not fit together.

    Raises:
        Mismatch: names the first differing tensor and both shapes.
    """
    for number, state in enumerate(states[1:], start=2):
        difference = first_difference(states[0], state, "ingredient 1", f"ingredient {number}")
        if difference:
            raise Mismatch(f"{difference}: mix copies of one architecture")


def first_difference(one: State, other: State, name_one: str, name_other: str) -> str | None:
    """The first tensor, in order, that only one of the two has or that differs in shape or type, in words."""
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


def _mixed(ingredients: Sequence[State], weights: Sequence[float]) -> Iterator[tuple[str, Tensor]]:
    used = [(state, weight) for state, weight in zip(ingredients, weights, strict=True) if weight != 0]
    for key in ingredients[0]:
        tensors = [state[key] for state, _ in used]
        if not tensors[0].is_floating_point():
            yield key, _agreed(key, [state[key] for state in ingredients])
            continue
        # One weight alone is 1: a copy keeps the ingredient's bits, signed zeros included.
        if len(used) == 1:
            result = tensors[0].clone()
        else:
            total = torch.zeros(tensors[0].shape, dtype=torch.float64, device=tensors[0].device)
            for tensor, (_, weight) in zip(tensors, used, strict=True):
                total.add_(tensor.to(torch.float64), alpha=weight)
            result = total.to(tensors[0].dtype)
        _require_safe(key, result)
        yield key, result


def _agreed(key: str, tensors: Sequence[Tensor]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.stack(list(tensors)).amax(0)
    for number, tensor in enumerate(tensors[1:], start=2):
        if not torch.equal(tensor, tensors[0]):
            raise Mismatch(f"integer buffer {key!r} differs between ingredients 1 and {number}: it cannot be averaged")
    return tensors[0].clone()


def _require_safe(key: str, tensor: Tensor) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise BadInput(f"tensor {key!r} is not finite in the soup: check the ingredients for NaN or infinite values")
    if key.endswith("running_var") and bool((tensor < 0).any()):
        raise BadInput(
            f"the weights make the running variance {key!r} negative ({float(tensor.min()):.3g}), and the soup would "
            "return NaN: use weights of at least 0, or smaller negative ones"
        )
