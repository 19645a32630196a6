"""Is a soup what its provenance says? It is mixed anew from its ingredients and compared bit by bit."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch

from seasoning.checkpoints.provenance import Provenance, read_provenance
from seasoning.checkpoints.save import as_bytes
from seasoning.errors import Mismatch, SeasoningError
from seasoning.soup.batch_norm import require_policy
from seasoning.soup.mix import MEASURED, first_difference, require_weights
from seasoning.soup.mix_files import OpenIngredient, apart, fingerprints, mixed_spans, opened


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
        that differs. Running statistics that were measured on images (policies `"clean"` and `"attacked"`) are not
        rebuilt.

    Raises:
        BadInput: the soup holds no provenance, or one of another number of ingredients; or a file is damaged.
    """
    path = Path(soup)
    provenance = read_provenance(path, len(ingredients))
    temporary = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        try:
            sources = stack.enter_context(opened(ingredients, temporary))
        except Mismatch as error:
            return Verification([str(error)], [])
        marks = fingerprints(sources)
        problems = [_other_file(place, provenance.ingredients, marks, sources) for place in range(len(marks))]
        found = [problem for problem in problems if problem]
        if found:
            return Verification(found, [])
        (whole,) = stack.enter_context(opened([path], temporary))
        measured = provenance.policy in MEASURED
        unchecked = [name for name in whole if measured and name.endswith(_STATISTICS)]
        try:
            require_policy(provenance.policy)
            require_weights(provenance.weights, len(sources))
            problem = first_difference(whole.like, sources[0].like, str(path), sources[0].name)
            problem = problem or _first_change(whole, sources, provenance, set(unchecked))
        except SeasoningError as error:
            problem = f"the provenance cannot be followed: {error}"
    return Verification([problem] if problem else [], unchecked)


def _other_file(place: int, wanted: Sequence[str], marks: Sequence[str], ingredients: Sequence[OpenIngredient]) -> str:
    """What is wrong with an ingredient, in words; empty where it is its provenance's."""
    mark, name = marks[place], ingredients[place].name
    if mark == wanted[place]:
        return ""
    text = (
        f"{name} is not ingredient {place + 1} of its provenance (fingerprint {mark[:12]}…, not {wanted[place][:12]}…)"
    )
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
