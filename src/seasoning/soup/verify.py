"""Is a soup what its provenance says? It is mixed anew from its ingredients and compared bit by bit."""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoints.class_names import agreed_names
from seasoning.checkpoints.constants import agreed, carried
from seasoning.checkpoints.fingerprints import is_earlier
from seasoning.checkpoints.provenance import Provenance, read_provenance
from seasoning.checkpoints.save import as_bytes
from seasoning.errors import Mismatch, SeasoningError
from seasoning.soup.batch_norm import require_policy
from seasoning.soup.fit import first_difference
from seasoning.soup.mix import MEASURED, mix, require_weights
from seasoning.soup.mix_files import apart, mixed_spans
from seasoning.soup.open_files import Opened, OpenIngredient, opened, renamed


__all__ = ["Verification", "verify_soup"]

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Verification(NamedTuple):
    """Whether a soup is what its provenance says."""

    problems: list[str]  # in words; none: the soup is what its provenance says
    unchecked: list[str]  # names of tensors that cannot be rebuilt: running statistics measured on images


def verify_soup(soup: str | Path, ingredients: Sequence[str | Path]) -> Verification:
    """Whether a soup is, bit by bit, what its provenance makes of these ingredients.

    Args:
        soup: A file of `mix_files`, or of `save_state` with `soup_metadata`.
        ingredients: Checkpoints in the order of its provenance.

    Returns:
        What is not as the provenance says: ingredients that are other files, and where they are not, the first tensor
        that differs, or what is said of normalization, classes and statistics and is not so. Running statistics that
        were measured on images (policies `"clean"` and `"attacked"`) are not rebuilt.

    Raises:
        BadInput: the soup holds no provenance, or one of another number of ingredients; or a file is damaged.
    """
    path = Path(soup)
    provenance = read_provenance(path, len(ingredients))
    temporary = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        try:
            sources = stack.enter_context(opened(ingredients, temporary))
            (soup_itself,) = stack.enter_context(opened([path], temporary))
        except Mismatch as error:
            return Verification([str(error)], [])
        marks = _fingerprints(sources, provenance.ingredients)
        problems = [_other_file(index, provenance.ingredients, marks, sources) for index in range(len(marks))]
        found = [problem for problem in problems if problem]
        if found:
            return Verification(found, [])
        # A soup whose statistics were measured has the names of the network that measured them.
        measured = provenance.policy in MEASURED
        everyone = [soup_itself, *sources]
        whole, *parts = renamed(everyone) if measured else everyone
        unchecked = [name for name in whole if measured and name.endswith(_STATISTICS)]
        try:
            require_policy(provenance.policy)
            require_weights(provenance.weights, len(parts))
            problem = first_difference(whole.like, parts[0].like, str(path), parts[0].name)
            problem = problem or _first_change(whole, parts, provenance, set(unchecked))
            problem = problem or _other_constants(soup_itself, provenance, sources)
            problem = problem or _other_classes(provenance, sources)
            problem = problem or _other_policy(whole, parts, provenance, unchecked)
        except SeasoningError as error:
            problem = f"the provenance cannot be followed: {error}"
    return Verification([problem] if problem else [], unchecked)


def _fingerprints(ingredients: Sequence[OpenIngredient], wanted: Sequence[str]) -> list[str]:
    """Of every byte of the files, each in the form that the provenance has."""

    def taken(ingredient: OpenIngredient, mark: str) -> str:
        return ingredient.fingerprint(earlier=is_earlier(mark))

    # Python's lock is not held while bytes are hashed.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(taken, ingredients, wanted))


def _other_constants(soup: OpenIngredient, provenance: Provenance, ingredients: Opened) -> str | None:
    """What the provenance says of normalization though the ingredients say something else, in words."""
    said, constants, tensors = provenance.constants, ingredients.constants, carried(soup)
    try:
        agreed([("by its provenance the soup", said), ("by their files its ingredients", constants)])
        agreed([("by its provenance the soup", said), ("by its tensors the soup", tensors)])
    except Mismatch as error:
        return str(error)
    if said is None and constants is not None and (tensors is None or ingredients.outside is not None):
        return f"the provenance lacks by what its ingredients normalize images: mean {list(constants.mean)}"
    # With statistics that were measured goes the normalization that they were measured with, whatever gave it.
    if said is not None and constants is None and tensors is None and provenance.policy not in MEASURED:
        return f"by its provenance the soup normalizes images with mean {list(said.mean)}; its ingredients say nothing"
    return None


def _other_classes(provenance: Provenance, ingredients: Opened) -> str | None:
    """What the provenance says of the classes though the ingredients say something else, in words."""
    said = [("by its provenance the soup", provenance.classes), ("by their files its ingredients", ingredients.classes)]
    try:
        agreed_names(said)
    except Mismatch as error:
        return str(error)
    return None


def _other_policy(
    soup: OpenIngredient, ingredients: Sequence[OpenIngredient], provenance: Provenance, unchecked: Sequence[str]
) -> str | None:
    """Why the statistics of a soup cannot have been measured as its provenance says, in words."""
    if provenance.policy not in MEASURED:
        return None
    if not unchecked:
        return f"the provenance has policy {provenance.policy!r}, and the soup no statistics that could be measured"
    means = [name for name in unchecked if name.endswith("running_mean")]
    same = all(_same_bits(soup[name], _mean(name, ingredients, provenance.weights)) for name in means)
    if means and same and len(ingredients) > 1:
        return f"the provenance has policy {provenance.policy!r}, and the soup the mixed statistics, not measured ones"
    return None


def _mean(name: str, ingredients: Sequence[OpenIngredient], weights: Sequence[float]) -> Tensor:
    return mix([{name: ingredient[name]} for ingredient in ingredients], weights)[name]


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _other_file(index: int, wanted: Sequence[str], marks: Sequence[str], ingredients: Sequence[OpenIngredient]) -> str:
    """What is wrong with an ingredient, in words; empty where it is its provenance's."""
    mark = marks[index]
    name = ingredients[index].name
    if mark == wanted[index]:
        return ""
    theirs, ours = (given.removeprefix("blake3:")[:12] for given in (mark, wanted[index]))
    text = f"{name} is not ingredient {index + 1} of its provenance (fingerprint {theirs}…, not {ours}…)"
    return f"{text}, but ingredient {wanted.index(mark) + 1}" if mark in wanted else text


def _first_change(
    soup: OpenIngredient, ingredients: Sequence[OpenIngredient], provenance: Provenance, unchecked: set[str]
) -> str | None:
    """The first tensor of a soup, in the order of its file, that is not what its provenance makes, in words."""
    # What is measured on images afterwards may be mixed by any rule; this one always can.
    policy = provenance.policy if provenance.policy not in MEASURED else "geometric"
    for span, rebuilt in mixed_spans(ingredients, provenance.weights, policy):
        stored = torch.empty_like(rebuilt)
        soup.read(span.pieces, as_bytes(stored))
        if torch.equal(stored.view(torch.uint8), rebuilt.view(torch.uint8)):
            continue
        for (name, begin, _), (_, theirs), (_, ours) in zip(
            span.pieces, apart(span, stored), apart(span, rebuilt), strict=True
        ):
            # Bits are compared: -0.0 and 0.0 are two things here, and a NaN is like itself.
            unlike = (theirs.view(torch.uint8) != ours.view(torch.uint8)).view(len(ours), -1).any(1).nonzero()
            if len(unlike) and name not in unchecked:
                at = int(unlike[0])
                return (
                    f"tensor {name!r} is not what its provenance makes: element {begin + at} is "
                    f"{theirs[at].item()!r} in {soup.name} and {ours[at].item()!r} rebuilt"
                )
    return None
