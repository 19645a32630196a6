"""What a soup's file says of its making: its ingredients, weights and policy, and by what it normalizes images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from seasoning import __version__
from seasoning.checkpoint import read_metadata
from seasoning.errors import BadInput, Mismatch


__all__ = ["Constants", "Recipe", "alike", "constants_of", "read_recipe", "soup_metadata"]

_RECIPE = "seasoning.soup"
_TOLD_BY = (_RECIPE, "seasoning.ingredient")
# Constants that differ by less are one set, rounded differently; neighbouring values of a pixel differ by 0.004.
_SAME_CONSTANT = 1e-3


class Constants(NamedTuple):
    """By what a network normalizes images in [0, 1]: one number for each channel, or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Recipe(NamedTuple):
    """How a soup was made."""

    ingredients: tuple[str, ...]  # fingerprints
    weights: tuple[float, ...]
    policy: str  # what became of batch-norm statistics


def soup_metadata(
    fingerprints: Sequence[str],
    weights: Sequence[float],
    *,
    policy: str = "mix",
    constants: Constants | None = None,
) -> dict[str, str]:
    """What a soup's file says of its making, as text under `"seasoning.soup"`.

    Args:
        fingerprints: Of the ingredients, in their order.
        weights: One number for each.
        policy: What became of batch-norm statistics.
        constants: By what the soup normalizes images, where that is known.

    Returns:
        JSON with `ingredients`, `weights`, `policy`, `versions` of seasoning and torch, and `mean` and `std`.
    """
    recipe: dict[str, object] = {
        "ingredients": list(fingerprints),
        "weights": [float(weight) for weight in weights],
        "policy": policy,
        "versions": {"seasoning": __version__, "torch": torch.__version__},
    }
    if constants is not None:
        recipe |= {"mean": list(constants.mean), "std": list(constants.std)}
    return {_RECIPE: json.dumps(recipe)}


def constants_of(paths: Sequence[str | Path]) -> Constants | None:
    """By what the ingredients say that they normalize images; `None` where none says.

    Raises:
        Mismatch: two say different things.
    """
    known = [(path, told) for path in paths if Path(path).is_file() and (told := _told(Path(path)))]
    for path, told in known[1:]:
        for which, one, other in zip(Constants._fields, known[0][1], told, strict=True):
            if not alike(one, other):
                raise Mismatch(
                    f"{known[0][0]} normalizes images with {which} {list(one)} and {path} with {list(other)}: "
                    "mix copies that see the same"
                )
    return known[0][1] if known else None


def read_recipe(path: Path, count: int) -> Recipe:
    """The recipe in a soup's file.

    Raises:
        BadInput: there is none, or it is of another number of ingredients.
    """
    text = read_metadata(path).get(_RECIPE)
    if text is None:
        raise BadInput(f"{path} holds no recipe: only soups written by this package can be verified")
    try:
        told = json.loads(text)
        marks, weights = (str(each) for each in told["ingredients"]), (float(each) for each in told["weights"])
        recipe = Recipe(tuple(marks), tuple(weights), str(told.get("policy", "mix")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} holds a recipe that cannot be read ({error})") from error
    if len(recipe.ingredients) != count:
        wanted = len(recipe.ingredients)
        raise BadInput(f"{path} is a soup of {wanted} ingredients, given: {count}; give each, in the recipe's order")
    return recipe


def _told(path: Path) -> Constants | None:
    metadata = read_metadata(path)
    try:
        plain = {key: json.loads(metadata[key]) for key in Constants._fields if key in metadata}
        for told in (*(json.loads(metadata[key]) for key in _TOLD_BY if key in metadata), plain):
            if all(key in told for key in Constants._fields):
                return Constants(*(tuple(float(value) for value in told[key]) for key in Constants._fields))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} has metadata on normalization that cannot be read ({error}): expected lists") from error
    return None


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two means, or two standard deviations, are one set; a single number serves every channel."""
    if 1 not in (len(one), len(other)) and len(one) != len(other):
        return False
    count = max(len(one), len(other))
    one, other = (values * count if len(values) == 1 else values for values in (tuple(one), tuple(other)))
    return all(abs(a - b) <= _SAME_CONSTANT for a, b in zip(one, other, strict=True))
