"""Soups whose weights differ from tensor to tensor: weights by group of layers, and model stock."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from seasoning.checkpoints.load import State
from seasoning.errors import BadInput
from seasoning.soup.fit import names_for, require_fit
from seasoning.soup.mix import mix, require_same_meaning


__all__ = ["mix_groups", "model_stock"]


def mix_groups(
    ingredients: Sequence[State], weights: Sequence[float], groups: Mapping[str, Sequence[float]]
) -> dict[str, Tensor]:
    """A soup whose layers have weights of their own.

    Args:
        ingredients: Mappings from names to tensors, all with the same names, shapes and types.
        weights: For the tensors of no group.
        groups: Beginnings of tensor names, up to a dot (`"layer1"`, `"blocks.3.attn"`), and the weights of each; the
            longest beginning that fits a name counts.

    Returns:
        Names to tensors, as `mix`.

    Raises:
        As `mix`; and BadInput where a group fits no tensor.

    Source: Wortsman et al. 2022, *Model soups*, learned soup by layer.
    """
    require_fit(ingredients)
    # Of a group alone factors would not be seen beside each other.
    require_same_meaning(ingredients, names_for(ingredients, None))
    members: dict[str, list[str]] = {group: [] for group in groups}
    rest: list[str] = []
    for name in ingredients[0]:
        fitting = [group for group in groups if name == group or name.startswith(f"{group}.")]
        (members[max(fitting, key=len)] if fitting else rest).append(name)
    for group, names in members.items():
        if not names and not any(name == group or name.startswith(f"{group}.") for name in ingredients[0]):
            raise BadInput(f"group {group!r} fits no tensor: expected the beginning of a name such as {rest[0]!r}")
    parts = [(weights, rest), *((groups[group], names) for group, names in members.items())]
    mixed: dict[str, Tensor] = {}
    for numbers, names in parts:
        mixed |= mix([{name: state[name] for name in names} for state in ingredients], numbers)
    return {name: mixed[name] for name in ingredients[0]}


def model_stock(base: State, ingredients: Sequence[State]) -> dict[str, Tensor]:
    """The point between a base and the mean of its fine-tuned copies that their angles say lies nearest their center.

    For each tensor, with k copies whose differences from the base enclose angles of mean cosine c, the soup is
    t times the mean of the copies plus 1 - t times the base, t = k c / (1 + (k - 1) c), kept within [0, 1].

    Args:
        base: The network that all were fine-tuned from.
        ingredients: At least two fine-tuned copies.

    Raises:
        Mismatch: as `mix`.
        BadInput: fewer than two copies.

    Source: Jang et al. 2024, *Model Stock: all we need is just a few fine-tuned models*, section 3.
    """
    if len(ingredients) < 2:
        raise BadInput(f"{len(ingredients)} fine-tuned copy: model stock needs the angle between at least two")
    states = [base, *ingredients]
    require_fit(states)
    require_same_meaning(states, names_for(states, None))
    soup: dict[str, Tensor] = {}
    for name in base:
        tensors = [state[name] for state in states]
        fraction = _stock_fraction(tensors) if tensors[0].is_floating_point() else 1.0
        weights = (1 - fraction, *[fraction / len(ingredients)] * len(ingredients))
        soup |= mix([{name: tensor} for tensor in tensors], weights)
    return soup


def _stock_fraction(tensors: Sequence[Tensor]) -> float:
    """T of a base and its copies, from the mean cosine between pairs of differences."""
    differences = torch.stack(
        [(tensor.to(torch.float64) - tensors[0].to(torch.float64)).flatten() for tensor in tensors[1:]]
    )
    lengths = differences.norm(dim=1)
    # A copy that never moved says nothing of the noise; where none moved, every point between is the base.
    if bool((lengths == 0).any()):
        return 1.0
    unit = differences / lengths[:, None]
    count = len(unit)
    cosine = float((unit.sum(0).square().sum() - count) / (count * (count - 1)))
    return min(max(count * cosine / (1 + (count - 1) * cosine), 0.0), 1.0) if cosine > 0 else 0.0
