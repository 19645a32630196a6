"""What a file says of its making: a soup of its ingredients, weights and policy, an ingredient of its training; and by
what either normalizes images.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seasoning.checkpoints.constants import Constants, agreed, alike, said_in
from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.load import read_entries, read_metadata
from seasoning.errors import BadInput
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
    "said_beside",
    "said_by",
    "soup_metadata",
]

_SOUP, _INGREDIENT = "seasoning.soup", "seasoning.ingredient"
_TOLD_BY = (_SOUP, _INGREDIENT)


class Provenance(NamedTuple):
    """How a soup was made."""

    ingredients: tuple[str, ...]  # fingerprints
    weights: tuple[float, ...]
    policy: str  # what became of batch-norm statistics
    constants: Constants | None  # by what it normalizes images
    classes: tuple[str, ...] | None  # in the order of its logits


def soup_metadata(
    fingerprints: Sequence[str],
    weights: Sequence[float],
    *,
    policy: str = "mix",
    constants: Constants | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, str]:
    """What a soup's file says of its making, as text under `"seasoning.soup"`.

    Args:
        fingerprints: Of the ingredients, in their order.
        weights: One number for each.
        policy: What became of batch-norm statistics.
        constants: By what the soup normalizes images, where that is known.
        classes: Their names in the order of the logits, where they are known.

    Returns:
        JSON with `ingredients`, `weights`, `policy`, `versions` of seasoning and torch, `mean`, `std` and `classes`.
    """
    provenance: dict[str, object] = {
        "ingredients": list(fingerprints),
        "weights": [float(weight) for weight in weights],
        "policy": policy,
        "versions": {"seasoning": version("seasoning"), "torch": torch.__version__},
    }
    if constants is not None:
        provenance |= {"mean": list(constants.mean), "std": list(constants.std)}
    if classes is not None:
        provenance["classes"] = list(classes)
    return {_SOUP: json.dumps(provenance)}


def ingredient_metadata(
    constants: Constants, threats: Sequence[Threat], architecture: str, notes: Mapping[str, Any]
) -> dict[str, str]:
    """What an ingredient's file says of its making, as text under `"seasoning.ingredient"`.

    Args:
        constants: By what its network normalizes images; they go with the file, and from there into soups.
        threats: What it was made robust to; none for clean images.
        architecture: What `build_model` takes.
        notes: More to say, such as the name of its recipe and the epoch it is from.
    """
    about = {
        **notes,
        "threat": str(threats[0]) if len(threats) == 1 else None,
        "threats": list(map(str, threats)),
        "architecture": architecture,
        "mean": list(constants.mean),
        "std": list(constants.std),
    }
    return {_INGREDIENT: json.dumps(about)}


def read_ingredient(path: str | Path) -> dict[str, Any]:
    """What an ingredient's file says of its making; empty where it says nothing, as of a published model.

    Raises:
        As `read_metadata`.
    """
    if str(path).startswith(PREFIXES):
        return {}
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


def constants_of(sources: Sequence[str | Path]) -> Constants | None:
    """By what the ingredients say, beside their tensors, that they normalize images; `None` where none says.

    Raises:
        Mismatch: two say different things.
        BadInput: what one says cannot be read; and as `load_ingredient`.
    """
    return agreed([(str(source), said_by(source)) for source in sources])


def said_by(source: str | Path) -> Constants | None:
    """By what a checkpoint says, beside its tensors, that it normalizes images.

    Looked for in the metadata of a file, in the entries of a training script, and in the configuration of a published
    model. For what it holds as tensors see `seasoning.checkpoints.constants.carried`.

    Raises:
        BadInput: what it says cannot be read; and as `load_ingredient`.
    """
    return said_beside(read_entries(source), str(source))


def said_beside(entries: Mapping[str, Any], where: str) -> Constants | None:
    """The constants among what stands beside the parameters of a checkpoint.

    Raises:
        BadInput: they cannot be read.
    """
    try:
        ours = [json.loads(entries[key]) for key in _TOLD_BY if key in entries]
        plain = {key: _value(entries[key]) for key in Constants._fields if key in entries}
        for content in (*ours, plain):
            if all(key in content for key in Constants._fields):
                return Constants(*(tuple(float(value) for value in content[key]) for key in Constants._fields))
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"{where} has metadata on normalization that cannot be read ({error}): expected lists"
        ) from error
    return said_in({key: _parsed(value) for key, value in entries.items()})


def _value(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _parsed(value: Any) -> Any:
    """JSON as what it says; anything else as it is."""
    try:
        return _value(value)
    except ValueError:
        return value


def read_provenance(path: Path, count: int) -> Provenance:
    """The provenance in a soup's file.

    Raises:
        BadInput: there is none, or it is of another number of ingredients.
    """
    text = read_metadata(path).get(_SOUP)
    if text is None:
        raise BadInput(f"{path} holds no provenance: only soups written by this package can be verified")
    try:
        content = json.loads(text)
        marks, weights = (
            (str(mark) for mark in content["ingredients"]),
            (float(weight) for weight in content["weights"]),
        )
        constants = (
            Constants(tuple(content["mean"]), tuple(content["std"])) if {"mean", "std"} <= content.keys() else None
        )
        classes = tuple(map(str, content["classes"])) if "classes" in content else None
        provenance = Provenance(tuple(marks), tuple(weights), str(content.get("policy", "mix")), constants, classes)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} holds a provenance that cannot be read ({error})") from error
    if len(provenance.ingredients) != count:
        wanted = len(provenance.ingredients)
        raise BadInput(
            f"{path} is a soup of {wanted} ingredients, given: {count}; give each, in the order of its provenance"
        )
    return provenance
