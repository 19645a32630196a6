"""Named ways to mix: each one paper, one function.

Most of them are nothing but weights, so they serve `mix` and `mix_files` alike; the two that differ from tensor to
tensor return the soup.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from seasoning.checkpoint import State
from seasoning.errors import BadInput, UnknownName
from seasoning.soup.mix import mix, require_fit


__all__ = [
    "average_weights",
    "difference_weights",
    "line_weights",
    "mix_groups",
    "model_stock",
    "parse_weights",
    "uniform_weights",
]


def uniform_weights(count: int) -> tuple[float, ...]:
    """The same weight for each of `count` ingredients.

    Raises:
        BadInput: there are none.

    Source: Wortsman et al. 2022, *Model soups* (uniform soup).
    """
    _require_some(count)
    return (1 / count,) * count


def line_weights(alpha: float) -> tuple[float, float]:
    """Weights of `(base, fine-tuned copy)` on the line between them: 0 is the base, 1 the copy; outside extrapolates.

    Source: Wortsman et al. 2022, *Robust fine-tuning of zero-shot models* (WiSE-FT).
    """
    return 1 - alpha, alpha


def difference_weights(coefficients: Sequence[float]) -> tuple[float, ...]:
    """Weights of `(base, *fine-tuned copies)` for the base plus the copies' differences from it, each times its number.

    Source: Ilharco et al. 2023, *Editing models with task arithmetic*.
    """
    _require_some(len(coefficients))
    return (1 - sum(coefficients), *coefficients)


def average_weights(count: int, decay: float) -> tuple[float, ...]:
    """Weights of `count` checkpoints, oldest first, in their exponential moving average.

    The average starts at the first checkpoint and becomes `decay` times itself plus `1 - decay` times the next.

    Args:
        count: Number of checkpoints, at least 1.
        decay: In [0, 1): 0 is the last checkpoint alone.

    Raises:
        BadInput: no checkpoints, or a decay outside its range.

    Source: Tarvainen & Valpola 2017, *Mean teachers are better role models*, equation 1.
    """
    _require_some(count)
    if not 0 <= decay < 1:
        raise BadInput(f"decay {decay}: expected at least 0 and below 1, such as 0.9")
    return (decay ** (count - 1), *((1 - decay) * decay ** (count - 1 - place) for place in range(1, count)))


def parse_weights(text: str, count: int) -> tuple[float, ...]:
    """Weights for `count` ingredients from numbers, or from the name of a way to mix.

    Args:
        text: Numbers with commas between (`"0.5,0.3,0.2"`), `"uniform"`, `"line:0.3"`, `"differences:0.7,-0.2"` or
            `"average:0.9"`; for the last three the first ingredient is the base, or the oldest checkpoint.
        count: Number of ingredients.

    Raises:
        BadInput: it is none of these, or of another number of ingredients.
        UnknownName: no such way to mix.
    """
    name, _, values = text.partition(":") if text[:1].isalpha() else ("", "", text)
    try:
        numbers = [float(value) for value in values.split(",")] if values or not name else []
    except ValueError as error:
        raise BadInput(f"weights {text!r}: expected numbers with commas between, such as 0.5,0.3,0.2") from error
    if not name:
        return tuple(numbers)
    if name not in _WAYS:
        raise UnknownName("way to mix", name, _WAYS)
    weights = _WAYS[name](numbers, count)
    if len(weights) != count:
        raise BadInput(f"weights {text!r} are for {len(weights)} ingredients, and there are {count}")
    return weights


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
        Mismatch: names, shapes, types or integer buffers differ.
        BadInput: fewer than two copies.

    Source: Jang et al. 2024, *Model Stock: all we need is just a few fine-tuned models*, section 3.
    """
    if len(ingredients) < 2:
        raise BadInput(f"{len(ingredients)} fine-tuned copy: model stock needs the angle between at least two")
    states = [base, *ingredients]
    require_fit(states)
    soup: dict[str, Tensor] = {}
    for name in base:
        tensors = [state[name] for state in states]
        share = _stock_share(tensors) if tensors[0].is_floating_point() else 1.0
        weights = (1 - share, *[share / len(ingredients)] * len(ingredients))
        soup |= mix([{name: tensor} for tensor in tensors], weights)
    return soup


def _stock_share(tensors: Sequence[Tensor]) -> float:
    """T of a base and its copies, from the mean cosine between pairs of differences."""
    differences = torch.stack(
        [(each.to(torch.float64) - tensors[0].to(torch.float64)).flatten() for each in tensors[1:]]
    )
    lengths = differences.norm(dim=1)
    # A copy that never moved says nothing of the noise; where nobody moved, every point between is the base.
    if bool((lengths == 0).any()):
        return 1.0
    unit = differences / lengths[:, None]
    count = len(unit)
    cosine = float((unit.sum(0).square().sum() - count) / (count * (count - 1)))
    return min(max(count * cosine / (1 + (count - 1) * cosine), 0.0), 1.0) if cosine > 0 else 0.0


_WAYS: dict[str, Callable[[Sequence[float], int], tuple[float, ...]]] = {
    "uniform": lambda numbers, count: uniform_weights(count),
    "line": lambda numbers, count: line_weights(_only(numbers, "line")),
    "differences": lambda numbers, count: difference_weights(numbers),
    "average": lambda numbers, count: average_weights(count, _only(numbers, "average")),
}


def _only(numbers: Sequence[float], name: str) -> float:
    if len(numbers) != 1:
        raise BadInput(f"weights {name!r} take one number, such as {name}:0.5")
    return numbers[0]


def _require_some(count: int) -> None:
    if count < 1:
        raise BadInput("a soup of no ingredients: give at least one")
