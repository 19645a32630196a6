"""What a file says of its making: a soup of its ingredients, weights and policy, an ingredient of its training; and by
what either normalizes images.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seasoning.checkpoints.load import read_metadata
from seasoning.errors import BadInput, Mismatch
from seasoning.threat import Threat


__all__ = [
    "Constants",
    "Provenance",
    "alike",
    "constants_of",
    "images_used",
    "ingredient_metadata",
    "ingredient_name",
    "read_ingredient",
    "read_provenance",
    "soup_metadata",
]

_SOUP, _INGREDIENT = "seasoning.soup", "seasoning.ingredient"
_TOLD_BY = (_SOUP, _INGREDIENT)
# Constants that differ by less are one set, rounded differently; neighbouring values of a pixel differ by 0.004.
_SAME_CONSTANT = 1e-3


class Constants(NamedTuple):
    """By what a network normalizes images in [0, 1]: one number for each channel, or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Provenance(NamedTuple):
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
    provenance: dict[str, object] = {
        "ingredients": list(fingerprints),
        "weights": [float(weight) for weight in weights],
        "policy": policy,
        "versions": {"seasoning": version("seasoning"), "torch": torch.__version__},
    }
    if constants is not None:
        provenance |= {"mean": list(constants.mean), "std": list(constants.std)}
    return {_SOUP: json.dumps(provenance)}


def ingredient_metadata(
    constants: Constants, threats: Sequence[Threat], architecture: str, told: Mapping[str, Any]
) -> dict[str, str]:
    """What an ingredient's file says of its making, as text under `"seasoning.ingredient"`.

    Args:
        constants: By what its network normalizes images; they go with the file, and from there into soups.
        threats: What it was made robust to; none for clean images.
        architecture: What `build_model` takes.
        told: More to say, such as the name of its recipe and the epoch it is from.
    """
    about = {
        **told,
        "threat": str(threats[0]) if len(threats) == 1 else None,
        "threats": list(map(str, threats)),
        "architecture": architecture,
        "mean": list(constants.mean),
        "std": list(constants.std),
    }
    return {_INGREDIENT: json.dumps(about)}


def read_ingredient(path: Path) -> dict[str, Any]:
    """What an ingredient's file says of its making; empty where it says nothing.

    Raises:
        As `read_metadata`.
    """
    about: dict[str, Any] = json.loads(read_metadata(path).get(_INGREDIENT, "{}"))
    return about


def images_used(path: str | Path) -> dict[str, tuple[int, int]]:
    """By the name of a known data set, how many images of it an ingredient was trained and validated on.

    Raises:
        As `read_metadata`.
    """
    if not Path(path).is_file():
        return {}
    about = read_ingredient(Path(path)).get("images")
    return {} if about is None else {str(about["source"]): (int(about["train"]), int(about["validation"]))}


def ingredient_name(path: Path) -> str | None:
    """The name of the recipe that made an ingredient, where its file says so.

    Raises:
        As `read_metadata`.
    """
    name: str | None = read_ingredient(path).get("name")
    return name


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


def read_provenance(path: Path, count: int) -> Provenance:
    """The provenance in a soup's file.

    Raises:
        BadInput: there is none, or it is of another number of ingredients.
    """
    text = read_metadata(path).get(_SOUP)
    if text is None:
        raise BadInput(f"{path} holds no provenance: only soups written by this package can be verified")
    try:
        told = json.loads(text)
        marks, weights = (str(each) for each in told["ingredients"]), (float(each) for each in told["weights"])
        provenance = Provenance(tuple(marks), tuple(weights), str(told.get("policy", "mix")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} holds a provenance that cannot be read ({error})") from error
    if len(provenance.ingredients) != count:
        wanted = len(provenance.ingredients)
        raise BadInput(
            f"{path} is a soup of {wanted} ingredients, given: {count}; give each, in the order of its provenance"
        )
    return provenance


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
