"""Soups from file to file, with the memory of a few pieces of tensors however many ingredients there are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoints.fingerprints import UNKNOWN
from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.images import UsedImages, images_metadata, soup_images
from seasoning.checkpoints.load import State, parted
from seasoning.checkpoints.provenance import soup_metadata
from seasoning.checkpoints.remembered import recall, remember
from seasoning.checkpoints.save import as_bytes, write_state, written_order
from seasoning.errors import BadInput
from seasoning.soup.fit import is_finite, is_variance
from seasoning.soup.mix import (
    PIECE,
    Rule,
    combine,
    require_mixing_policy,
    require_safe,
    require_weights,
    rule_for,
)
from seasoning.soup.open_files import OpenIngredient, Piece, opened


__all__ = ["apart", "mix_files", "mixed_spans"]


class _Span(NamedTuple):
    """Pieces of one type and rule that are mixed at once, and come one after the other in the soup's file."""

    rule: Rule
    dtype: torch.dtype
    pieces: list[Piece]


def mix_files(
    paths: Sequence[str | Path],
    weights: Sequence[float],
    out: str | Path,
    *,
    policy: str = "mix",
    overwrite: bool = False,
    chosen_on: UsedImages | None = None,
) -> Path:
    """Mix checkpoints on disk into one safetensors file; the same bits as `mix`, in the memory of a few pieces.

    Ingredients that differ in names of wrappers and of other code, in counters of batch normalization or in precision
    are made to fit (`load_ingredients` does the same in memory). Every ingredient is read once, for its fingerprint and
    to be mixed; one that was hashed before and has not changed is not hashed again. What no part of a file holds as it
    is (PyTorch files of before 2020, pretrained models) goes through an unnamed temporary file beside `out`, one
    ingredient at a time.

    Args:
        paths: Checkpoints as `load_ingredient` takes them; they are only read.
        weights: One number for each, of sum 1.
        out: The soup's file. Its metadata are the provenance, as `soup_metadata` writes it, and the images that made
            it, as `images_metadata` does.
        policy: What becomes of running variances: `"mix"` or `"geometric"`.
        overwrite: Whether `out` may exist, and is replaced.
        chosen_on: The images that the weights were chosen on; its file lists them beside those of its ingredients.

    Returns:
        `out`.

    Raises:
        As `mix` and `load_ingredient`, naming the files; Mismatch also where ingredients say that they normalize images
        or number classes differently; BadInput where `out` exists or is an ingredient; SeasoningError where the disk is
        full. Nothing is written then.
    """
    target = Path(out)
    require_weights(weights, len(paths))
    require_mixing_policy(policy)
    for path in paths:
        if target.exists() and not str(path).startswith(PREFIXES) and target.samefile(parted(path)[0]):
            raise BadInput(f"{target} is one of the ingredients: choose another name for the soup")
    if target.exists() and not overwrite:
        raise BadInput(f"{target} exists: choose another name for the soup, or remove it first")
    images = images_metadata(soup_images(paths, weights, chosen_on))
    with opened(paths, target.parent) as ingredients:
        known = [recall(ingredient.identity) for ingredient in ingredients]
        for ingredient, mark in zip(ingredients, known, strict=True):
            if mark is None:
                ingredient.hash_reads()

        def metadata(marks: Sequence[str]) -> dict[str, str]:
            constants, classes = ingredients.outside, ingredients.classes
            return soup_metadata(marks, weights, policy=policy, constants=constants, classes=classes) | images

        def provenance() -> dict[str, str]:
            marks = [
                _remembered(ingredient) if mark is None else mark
                for ingredient, mark in zip(ingredients, known, strict=True)
            ]
            return metadata(marks)

        unknown = metadata([UNKNOWN] * len(ingredients))
        parts = (values for _, values in mixed_spans(ingredients, weights, policy))
        write_state(ingredients[0].like, parts, target, unknown, afterwards=provenance)
    return target


def _remembered(ingredient: OpenIngredient) -> str:
    mark = ingredient.fingerprint()
    remember(ingredient.identity, mark)
    return mark


def mixed_spans(
    ingredients: Sequence[OpenIngredient], weights: Sequence[float], policy: str
) -> Iterator[tuple[_Span, Tensor]]:
    """The soup's values in the order of its file, `(N,)` each and in memory that the next ones overwrite."""
    like = ingredients[0].like
    whole = [tensor.numel() for name, tensor in like.items() if rule_for(name, tensor, policy) == "geometric"]
    read, mixed = torch.empty(2, 8 * max(PIECE, *whole, 0), dtype=torch.uint8)
    scratch = torch.empty(2, PIECE, dtype=torch.float64)
    for span in _spans(like, policy):
        everyone = span.rule in ("largest", "equal")
        used = [index for index, weight in enumerate(weights) if weight != 0 or everyone]
        states = [ingredients[index] for index in used]
        names = [state.name for state in states]
        size = sum(end - begin for _, begin, end in span.pieces) * span.dtype.itemsize
        part, out = read[:size].view(span.dtype), mixed[:size].view(span.dtype)
        numbers = [float(weights[index]) for index in used]
        combine(out, span.rule, _parts(states, span.pieces, part), numbers, scratch, span.pieces[0].name, names)
        sound = is_finite(out)
        for name, values in apart(span, out):
            if not sound or is_variance(name):
                require_safe(name, values, states, names)
        yield span, out


def _spans(like: State, policy: str) -> Iterator[_Span]:
    span, room = _Span("sum", torch.float32, []), 0
    for name in written_order(like):
        tensor = like[name]
        rule, begin, count = rule_for(name, tensor, policy), 0, tensor.numel()
        while begin < count:
            # Only sums do without knowing which tensor they are of.
            if room == 0 or rule != "sum" or (span.rule, span.dtype) != (rule, tensor.dtype):
                if span.pieces:
                    yield span
                span, room = _Span(rule, tensor.dtype, []), PIECE
            end = count if rule == "geometric" else min(begin + room, count)
            span.pieces.append(Piece(name, begin, end))
            room -= end - begin
            begin = end
    if span.pieces:
        yield span


def _parts(ingredients: Sequence[OpenIngredient], pieces: Sequence[Piece], part: Tensor) -> Iterator[Tensor]:
    """The same pieces of one ingredient after the other, each in the memory of the last."""
    memory = as_bytes(part)
    for ingredient in ingredients:
        ingredient.read(pieces, memory)
        yield part


def apart(span: _Span, values: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Values of a span, tensor by tensor."""
    done = 0
    for name, begin, end in span.pieces:
        yield name, values[done : done + end - begin]
        done += end - begin
