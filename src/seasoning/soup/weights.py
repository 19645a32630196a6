"""Named ways to choose weights, each one paper and one function; they serve `mix` and `mix_files` alike."""

from collections.abc import Callable, Sequence

from seasoning.errors import BadInput, UnknownName


__all__ = [
    "average_weights",
    "difference_weights",
    "line_weights",
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
    return (decay ** (count - 1), *((1 - decay) * decay ** (count - 1 - index) for index in range(1, count)))


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
