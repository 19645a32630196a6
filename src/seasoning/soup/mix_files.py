"""Soups from file to file, with the memory of a few pieces of tensors however many ingredients there are.

Ingredients are read piece by piece into one small buffer rather than mapped: mapped pages count as this process's
memory until the file is closed, and copying from the system's cache costs less than the page faults do.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoints.load import State, TensorBytes, fingerprint_of, locate
from seasoning.checkpoints.provenance import constants_of, soup_metadata
from seasoning.checkpoints.save import as_bytes, write_state, written_order
from seasoning.errors import BadInput, Mismatch, SeasoningError
from seasoning.soup.mix import (
    PIECE,
    Rule,
    combine,
    first_difference,
    is_finite,
    is_variance,
    require_mixing_policy,
    require_safe,
    require_weights,
    rule_for,
)


__all__ = ["OpenIngredient", "Piece", "apart", "fingerprints", "mix_files", "mixed_spans", "opened"]

_Forms = dict[str, tuple[torch.dtype, tuple[int, ...]]]
_Offsets = dict[str, tuple[FileIO, int]]  # offsets in bytes


class Piece(NamedTuple):
    """A run of elements of one tensor."""

    name: str
    begin: int  # elements of the flattened tensor
    end: int


class _Span(NamedTuple):
    """Pieces of one type and rule that are mixed at once, and come one after the other in the soup's file."""

    rule: Rule
    dtype: torch.dtype
    pieces: list[Piece]


class OpenIngredient(Mapping[str, Tensor]):
    """The tensors of one checkpoint, read from open files when they are asked for; nothing of them is kept."""

    def __init__(self, name: str, forms: _Forms, like: State, places: _Offsets) -> None:
        self.name = name
        self.forms = forms
        self.like = like  # on the meta device
        self._places = places

    def __getitem__(self, name: str) -> Tensor:
        like = self.like[name]
        tensor = torch.empty(like.shape, dtype=like.dtype)
        self.read([Piece(name, 0, like.numel())], as_bytes(tensor))
        return tensor

    def fingerprint(self) -> str:
        """As `seasoning.checkpoints.load.fingerprint`, in the memory of one piece."""
        memory = memoryview(bytearray(8 * PIECE))

        def parts(name: str) -> Iterator[memoryview]:
            like = self.like[name]
            size = len(memory) // like.element_size()
            for begin in range(0, like.numel(), size):
                piece = Piece(name, begin, min(begin + size, like.numel()))
                part = memory[: (piece.end - begin) * like.element_size()]
                self.read([piece], part)
                yield part

        return fingerprint_of(self.like, parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.like)

    def __len__(self) -> int:
        return len(self.like)

    def read(self, pieces: Sequence[Piece], into: memoryview) -> None:
        """Read pieces of one type one after the other."""
        runs: list[tuple[FileIO, int, int]] = []
        for name, begin, end in pieces:
            size = self.like[name].element_size()
            file, offset = self._places[name]
            begin, end = offset + begin * size, offset + end * size
            # What also lies one after the other in the file is read at once.
            if runs and runs[-1][0] is file and runs[-1][2] == begin:
                runs[-1] = file, runs[-1][1], end
            else:
                runs.append((file, begin, end))
        for file, begin, end in runs:
            self._fill(file, begin, into[: end - begin])
            into = into[end - begin :]

    def _fill(self, file: FileIO, offset: int, into: memoryview) -> None:
        try:
            file.seek(offset)
            while len(into):
                count = file.readinto(into)
                if not count:
                    raise BadInput(f"{self.name} became shorter while it was read: mix again")
                into = into[count:]
        except OSError as error:
            raise BadInput(f"{self.name} cannot be read ({error.strerror}): copy it again") from error


def mix_files(
    paths: Sequence[str | Path],
    weights: Sequence[float],
    out: str | Path,
    *,
    policy: str = "mix",
    overwrite: bool = False,
) -> Path:
    """Mix checkpoints on disk into one safetensors file; the same bits as `mix`, in the memory of a few pieces.

    Every ingredient is read twice, once for its fingerprint and once to be mixed. What no part of a file holds as it
    is (PyTorch files of before 2020, pretrained models) goes through an unnamed temporary file beside `out`, one
    ingredient at a time.

    Args:
        paths: Checkpoints as `load_ingredient` takes them; they are only read.
        weights: One number for each, of sum 1.
        out: The soup's file. Its metadata is the provenance, as `soup_metadata` writes it.
        policy: What becomes of running variances: `"mix"` or `"geometric"`.
        overwrite: Whether `out` may exist, and is replaced.

    Returns:
        `out`.

    Raises:
        As `mix` and `load_ingredient`, naming the files; Mismatch also where ingredients say that they normalize images
        differently; BadInput where `out` exists or is an ingredient; SeasoningError where the disk is full. Nothing
        is written then.
    """
    target = Path(out)
    require_weights(weights, len(paths))
    require_mixing_policy(policy)
    for path in paths:
        if target.exists() and Path(path).exists() and target.samefile(path):
            raise BadInput(f"{target} is one of the ingredients: choose another name for the soup")
    if target.exists() and not overwrite:
        raise BadInput(f"{target} exists: choose another name for the soup, or remove it first")
    with opened(paths, target.parent) as ingredients:
        constants = constants_of(paths)
        marks = fingerprints(ingredients)
        metadata = soup_metadata(marks, weights, policy=policy, constants=constants)
        like = ingredients[0].like
        parts = (values for _, values in mixed_spans(ingredients, weights, policy))
        write_state(like, parts, target, metadata)
    return target


def fingerprints(ingredients: Sequence[OpenIngredient]) -> list[str]:
    """The fingerprint of each, as `seasoning.checkpoints.fingerprint`."""
    # Hashing takes longer than mixing, and Python's lock is not held meanwhile.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(OpenIngredient.fingerprint, ingredients))


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
        used = [place for place, weight in enumerate(weights) if weight != 0 or everyone]
        states = [ingredients[place] for place in used]
        names = [state.name for state in states]
        size = sum(end - begin for _, begin, end in span.pieces) * span.dtype.itemsize
        part, out = read[:size].view(span.dtype), mixed[:size].view(span.dtype)
        numbers = [float(weights[place]) for place in used]
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
    for each in ingredients:
        each.read(pieces, memory)
        yield part


def apart(span: _Span, values: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Values of a span, tensor by tensor."""
    done = 0
    for name, begin, end in span.pieces:
        yield name, values[done : done + end - begin]
        done += end - begin


@contextmanager
def opened(paths: Sequence[str | Path], folder: Path) -> Iterator[list[OpenIngredient]]:
    """Checkpoints of one form, open for reading.

    Args:
        paths: As `load_ingredient` takes them.
        folder: For temporary files.

    Raises:
        Mismatch: names, shapes or types differ.
        BadInput: as `load_ingredient`.
        SeasoningError: there is no room for the temporary file, or the system refuses to open so many.
    """
    found: list[OpenIngredient] = []
    with ExitStack() as stack:
        for path in paths:
            located = locate(path)
            places: _Offsets = {}
            loose = {name: each for name, each in located.items() if isinstance(each, Tensor)}
            try:
                if len(loose) < len(located):
                    own = stack.enter_context(Path(path).open("rb", buffering=0))
                    places = {
                        name: (own, each.offset) for name, each in located.items() if isinstance(each, TensorBytes)
                    }
                if loose:
                    folder.mkdir(parents=True, exist_ok=True)
                    copies = stack.enter_context(tempfile.TemporaryFile(buffering=0, dir=folder))
                    places |= _copied(loose, copies)
            except OSError as error:
                doing = "opened" if not loose else f"unpacked to {folder}"
                raise SeasoningError(
                    f"{path} could not be {doing} ({error.strerror}): make room for it, or save it as safetensors"
                ) from error
            forms = {name: (each.dtype, tuple(each.shape)) for name, each in located.items()}
            like = found[0].like if found and forms == found[0].forms else _like(forms)
            difference = first_difference(found[0].like, like, found[0].name, str(path)) if found else None
            if difference:
                raise Mismatch(f"{difference}: mix copies of one architecture")
            found.append(OpenIngredient(str(path), forms, like, places))
        yield found


def _copied(tensors: State, file: FileIO) -> _Offsets:
    places: _Offsets = {}
    for name, tensor in tensors.items():
        places[name] = file, file.tell()
        content = as_bytes(tensor)
        while len(content):
            content = content[file.write(content) :]
    return places


def _like(forms: _Forms) -> State:
    return {name: torch.empty(shape, dtype=dtype, device="meta") for name, (dtype, shape) in forms.items()}
