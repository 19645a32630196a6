"""The algebra of soups: theta = sum_i w_i theta_i over every parameter and floating buffer.

Products and sums are taken in float64, ingredient after ingredient, and rounded once to the ingredients' type. Each
element is computed for itself, so the bits do not depend on the pieces in which tensors are walked through; `mix`,
`mix_into` and `seasoning.soup.mix_files.mix_files` use the same arithmetic and return the same bits.

Sources: Croce et al. 2023, *Seasoning model soups*, section 3; Wortsman et al. 2022, *Model soups*.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seasoning.checkpoints.load import State
from seasoning.errors import BadInput, Mismatch
from seasoning.soup.batch_norm import geometric_mean, require_policy
from seasoning.soup.fit import (
    comparable,
    is_finite,
    is_variance,
    names_for,
    require_fit,
    require_linear,
    require_same_constants,
)


__all__ = [
    "MEASURED",
    "PIECE",
    "Rule",
    "combine",
    "mix",
    "mix_into",
    "require_mixing_policy",
    "require_safe",
    "require_same_meaning",
    "require_weights",
    "rule_for",
]

# Elements that are mixed at a time: their double-precision sum stays in the processor's cache, where adding a piece
# takes a fifth of the time that whole tensors take.
PIECE = 2**17
_SUM_TOLERANCE = 1e-6
# Policies whose statistics are measured on images afterwards.
MEASURED = ("clean", "attacked")

# What becomes of a tensor: the weighted sum, the weighted mean of logarithms, the largest, or what all agree on.
Rule = Literal["sum", "geometric", "largest", "equal"]


def mix(
    ingredients: Sequence[State],
    weights: Sequence[float],
    *,
    policy: str = "mix",
    names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """One set of parameters from several: the weighted sum of every floating tensor, in float64.

    Convex (all weights at least 0) or affine (any weights of sum 1). An ingredient of weight 0 must fit and adds
    nothing; weight 1 returns the ingredient bit for bit. Of batch-norm's counters the largest is taken; other integer
    buffers must agree.

    Args:
        ingredients: Mappings from names to tensors, all with the same names, shapes and types.
        weights: One number for each, of sum 1.
        policy: `"mix"` averages running variances like everything else, `"geometric"` their logarithms.
        names: What errors call the ingredients; by default `"ingredient 1"` and so on.

    Returns:
        Names to tensors of the ingredients' own types, on their device.

    Raises:
        Mismatch: names, shapes, types, integer buffers or normalization constants differ, the first difference is
            named; or there are factors of products, such as low-rank adapters.
        BadInput: the weights are not finite, do not sum to 1 or are not one for each; a tensor has NaN or infinite
            values; or the result is not finite or has a negative running variance.
        UnknownName: there is no such policy.
    """
    called = names_for(ingredients, names)
    require_weights(weights, len(ingredients))
    require_mixing_policy(policy)
    require_fit(ingredients, called)
    require_same_meaning(ingredients, called)
    return {name: _mixed(name, ingredients, weights, policy, called) for name in ingredients[0]}


def mix_into(
    target: nn.Module | State,
    ingredients: Sequence[State],
    weights: Sequence[float],
    *,
    policy: str = "mix",
    names: Sequence[str] | None = None,
) -> None:
    """Mix into the tensors of a live model, without allocating another; the bits are those of `mix`.

    For searches, which measure many soups of the same ingredients. Running variances are mixed first: if the weights
    make one negative, the others are as they were. After another error the model is to be mixed anew.

    Args:
        target: A network, or its names and tensors; they are overwritten.
        ingredients: As for `mix`; kept in memory, or they are read anew for every soup.
        weights: As for `mix`.
        policy: As for `mix`.
        names: As for `mix`.

    Raises:
        As `mix`; Mismatch also where the target does not fit, and BadInput where it shares memory with an ingredient.
    """
    called = names_for(ingredients, names)
    require_weights(weights, len(ingredients))
    require_mixing_policy(policy)
    state: State = target.state_dict() if isinstance(target, nn.Module) else target
    require_fit([state, *ingredients], ["the model", *called])
    require_same_meaning(ingredients, called)
    _require_apart(state, ingredients, called)
    variances = {name: _mixed(name, ingredients, weights, policy, called) for name in state if is_variance(name)}
    for name, tensor in state.items():
        own = tensor.detach()
        if name in variances:
            own.copy_(variances[name])
        elif own.is_contiguous() and own.device == ingredients[0][name].device:
            _mix_to(own.view(-1), name, ingredients, weights, policy, called)
        else:
            own.copy_(_mixed(name, ingredients, weights, policy, called))


def require_same_meaning(ingredients: Sequence[State], names: Sequence[str]) -> None:
    """Refuse tensors whose weighted sum means nothing: differing constants of normalization, and factors of products.

    Args:
        ingredients: Of one form; of a single one everything may be taken.
        names: What errors call them.

    Raises:
        Mismatch: names the tensors.
    """
    if len(ingredients) > 1:
        require_linear(ingredients[0])
        require_same_constants(ingredients, names)


def rule_for(name: str, tensor: Tensor, policy: str) -> Rule:
    """How tensors of this name and type are mixed under a batch-norm policy."""
    if not tensor.is_floating_point():
        return "largest" if name.endswith("num_batches_tracked") else "equal"
    return "geometric" if policy == "geometric" and is_variance(name) else "sum"


def combine(
    out: Tensor,
    rule: Rule,
    parts: Iterable[Tensor],
    weights: Sequence[float],
    scratch: Tensor,
    name: str,
    names: Sequence[str],
) -> None:
    """Mix pieces of one tensor; the arithmetic of every soup.

    Args:
        out: Where the result is written, `(N,)`, in the ingredients' type; must not be a part.
        rule: As `rule_for` says.
        parts: The piece of each ingredient, `(N,)`; asked for one after the other, and not used once the next is
            asked for. For `"sum"` and `"geometric"` those of weights other than 0 only; for `"geometric"` the whole
            tensors, since the bits of logarithms depend on where in a tensor they are taken.
        weights: One for each part.
        scratch: `(2, N)` or longer, float64: memory that is used again for every piece, and stays in the cache.
        name: The tensor's name, for errors.
        names: What errors call the ingredients.

    Raises:
        Mismatch: integer buffers differ.
        BadInput: the geometric mean of a negative variance.
    """
    if rule == "geometric" and len(weights) > 1:
        out.copy_(geometric_mean([part.to(torch.float64, copy=True) for part in parts], weights))
    elif rule == "sum" and len(weights) > 1:
        total, wide = scratch[:, : len(out)]
        for number, (part, weight) in enumerate(zip(parts, weights, strict=True)):
            wide.copy_(part)
            if number == 0:
                torch.mul(wide, weight, out=total)
            else:
                total.add_(wide, alpha=weight)
        out.copy_(total)
    else:
        # One weight alone is 1: a copy keeps the ingredient's bits, signed zeros included.
        for number, part in enumerate(parts):
            if number == 0:
                out.copy_(part)
            elif rule == "largest":
                torch.maximum(out, part, out=out)
            elif not torch.equal(out, part):
                raise Mismatch(
                    f"integer buffer {name!r} differs between {names[0]} and {names[number]}: it cannot be averaged"
                )


def require_safe(name: str, values: Tensor, ingredients: Sequence[State], names: Sequence[str]) -> None:
    """Refuse mixed values that would make a network return NaN.

    Args:
        name: The tensor's name.
        values: Some or all of its mixed values.
        ingredients: What it was mixed from, those of weights other than 0; read only to find the culprit.
        names: What errors call them.

    Raises:
        BadInput: a value is NaN or infinite, or a running variance negative.
    """
    if not is_finite(values):
        for each, ingredient in zip(names, ingredients, strict=True):
            if not is_finite(ingredient[name]):
                raise BadInput(f"tensor {name!r} is not finite in {each}: it holds NaN or infinite values")
        raise BadInput(f"tensor {name!r} is not finite in the soup: the weights carry it beyond {values.dtype}")
    if is_variance(name) and values.numel() and (lowest := float(comparable(values).min())) < 0:
        raise BadInput(
            f"the weights make the running variance {name!r} negative ({lowest:.3g}), and the soup would return NaN: "
            "use weights of at least 0, or smaller negative ones"
        )


def require_mixing_policy(policy: str) -> None:
    """Refuse batch-norm policies that weights and ingredients alone cannot carry out.

    Raises:
        UnknownName: there is no such policy.
        BadInput: it needs images.
    """
    require_policy(policy)
    if policy in MEASURED:
        raise BadInput(f"policy {policy!r} measures running statistics on images: mix with 'mix', then recalibrate")


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


def _mixed(
    name: str, ingredients: Sequence[State], weights: Sequence[float], policy: str, names: Sequence[str]
) -> Tensor:
    first = ingredients[0][name]
    result = torch.empty(first.shape, dtype=first.dtype, device=first.device)
    _mix_to(result.view(-1), name, ingredients, weights, policy, names)
    return result


def _mix_to(
    out: Tensor, name: str, ingredients: Sequence[State], weights: Sequence[float], policy: str, names: Sequence[str]
) -> None:
    """Mix one tensor piece by piece into `out`, `(N,)`."""
    rule = rule_for(name, out, policy)
    used = [index for index, weight in enumerate(weights) if weight != 0 or rule in ("largest", "equal")]
    states = [ingredients[index] for index in used]
    called = [names[index] for index in used]
    flat = [state[name].detach().reshape(-1) for state in states]
    # Elsewhere than on the CPU, one call for the whole tensor costs least; `combine` wants all of a geometric mean.
    size = PIECE if out.device.type == "cpu" and rule != "geometric" else max(len(out), 1)
    scratch = torch.empty(2, min(size, len(out)), dtype=torch.float64, device=out.device)
    numbers = [float(weights[index]) for index in used]
    for begin in range(0, len(out), size):
        piece = out[begin : begin + size]
        parts: Iterator[Tensor] = (values[begin : begin + size] for values in flat)
        combine(piece, rule, parts, numbers, scratch, name, called)
        require_safe(name, piece, states, called)


def _require_apart(state: State, ingredients: Sequence[State], names: Sequence[str]) -> None:
    for ingredient, each in zip(ingredients, names, strict=True):
        for name, tensor in state.items():
            if tensor.numel() and tensor.data_ptr() == ingredient[name].data_ptr():
                raise BadInput(f"the model shares tensor {name!r} with {each}, which would be overwritten: mix a copy")
