"""Checkpoints that are read piece by piece from open files, in the form that they have in common.

They are read into one small buffer rather than mapped: mapped pages count as this process's memory until the file is
closed, and copying from the system's cache costs less than the page faults do.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoints.adapters import shared_names
from seasoning.checkpoints.class_names import agreed_names, names_beside
from seasoning.checkpoints.constants import Constants, agreed
from seasoning.checkpoints.fingerprints import RunningFingerprint, sha256_fingerprint
from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.ingredients import SharedForm, normalized_by, shared_form
from seasoning.checkpoints.load import Form, Located, State, TensorBytes, locate, parted
from seasoning.checkpoints.provenance import said_beside
from seasoning.checkpoints.remembered import identity_of
from seasoning.checkpoints.save import as_bytes
from seasoning.errors import BadInput, SeasoningError
from seasoning.soup.fit import require_fit
from seasoning.soup.mix import PIECE, require_same_meaning


__all__ = ["OpenIngredient", "Opened", "Piece", "opened", "renamed"]

_Offsets = dict[str, tuple[FileIO, int]]  # offsets in bytes


class Piece(NamedTuple):
    """A run of elements of one tensor."""

    name: str
    begin: int  # elements of the flattened tensor
    end: int


class OpenIngredient(Mapping[str, Tensor]):
    """The tensors of one checkpoint, read from open files when they are asked for; nothing of them is kept.

    Args:
        name: What it is called.
        forms: Types and shapes by name.
        offsets: File and byte offset of the values, by name.
        identity: What its files are known again by, where they hold all its tensors as they are.
    """

    def __init__(self, name: str, forms: Mapping[str, Form], offsets: _Offsets, identity: str | None = None) -> None:
        self.name, self.identity = name, identity
        self.like: State = {
            name: torch.empty(shape, dtype=dtype, device="meta") for name, (dtype, shape) in forms.items()
        }
        self._offsets = offsets
        self._running: RunningFingerprint | None = None

    def __getitem__(self, name: str) -> Tensor:
        like = self.like[name]
        tensor = torch.empty(like.shape, dtype=like.dtype)
        self.read([Piece(name, 0, like.numel())], as_bytes(tensor))
        return tensor

    def hash_reads(self) -> None:
        """Take what is read from now on into the fingerprint, which then need not be read for."""
        self._running = RunningFingerprint(self.like)

    def fingerprint(self, *, earlier: bool = False) -> str:
        """As `seasoning.checkpoints.fingerprint` of the file, in the memory of one piece; or that of earlier versions.

        Only what `hash_reads` did not see is read.
        """
        if earlier:
            return sha256_fingerprint(self.like, self._bytes)
        if self._running is None:
            self.hash_reads()
        assert self._running is not None
        for name, begin in list(self._running.missing()):
            for _ in self._bytes(name, begin // self.like[name].element_size()):
                pass
        return self._running.finished()

    def _bytes(self, name: str, start: int = 0) -> Iterator[memoryview]:
        """The values of a tensor from an element on, in pieces; each is overwritten by the next."""
        like = self.like[name]
        size = 8 * PIECE // like.element_size()
        memory = memoryview(bytearray(min(size, like.numel()) * like.element_size()))
        for begin in range(start, like.numel(), size) or [0]:
            piece = Piece(name, begin, min(begin + size, like.numel()))
            part = memory[: (piece.end - begin) * like.element_size()]
            self.read([piece], part)
            yield part

    def __iter__(self) -> Iterator[str]:
        return iter(self.like)

    def __len__(self) -> int:
        return len(self.like)

    def read(self, pieces: Sequence[Piece], into: memoryview) -> None:
        """Read pieces of one type one after the other."""
        runs: list[tuple[FileIO, int, int]] = []
        for name, begin, end in pieces:
            size = self.like[name].element_size()
            file, offset = self._offsets[name]
            begin, end = offset + begin * size, offset + end * size
            # What also lies one after the other in the file is read at once.
            if runs and runs[-1][0] is file and runs[-1][2] == begin:
                runs[-1] = file, runs[-1][1], end
            else:
                runs.append((file, begin, end))
        rest = into
        for file, begin, end in runs:
            self._fill(file, begin, rest[: end - begin])
            rest = rest[end - begin :]
        if self._running is not None:
            for name, begin, end in pieces:
                size = self.like[name].element_size()
                self._running.update(name, begin * size, into[: (end - begin) * size])
                into = into[(end - begin) * size :]

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


class _SharedIngredient(OpenIngredient):
    """An open checkpoint under the names and in the types that it has in common with others."""

    def __init__(self, own: OpenIngredient, form: SharedForm) -> None:
        shapes = {name: () if given is None else tuple(own.like[given].shape) for name, given in form.names.items()}
        forms = {name: Form(form.types[name], shape) for name, shape in shapes.items()}
        super().__init__(own.name, forms, {}, own.identity)
        self._own, self._form = own, form

    def hash_reads(self) -> None:
        """Of the file, whatever it is mixed with."""
        self._own.hash_reads()

    def fingerprint(self, *, earlier: bool = False) -> str:
        """Of the file, whatever it is mixed with."""
        return self._own.fingerprint(earlier=earlier)

    def read(self, pieces: Sequence[Piece], into: memoryview) -> None:
        """Read pieces of one type one after the other."""
        for name, begin, end in pieces:
            like, given = self.like[name], self._form.names[name]
            part, into = into[: (end - begin) * like.element_size()], into[(end - begin) * like.element_size() :]
            if given is None:
                part[:] = bytes(len(part))
            elif self._own.like[given].dtype == like.dtype:
                self._own.read([Piece(given, begin, end)], part)
            else:
                stored = torch.empty(end - begin, dtype=self._own.like[given].dtype)
                self._own.read([Piece(given, begin, end)], as_bytes(stored))
                if len(part):
                    torch.frombuffer(part, dtype=like.dtype).copy_(stored)


class Opened(list[OpenIngredient]):
    """Open checkpoints in one form.

    Args:
        ingredients: The checkpoints.
        constants: By what all normalize images, wherever they say so; `None` where it is not known.
        outside: The same, where no tensor in the shared form says it.
        classes: Their names in the order of the logits of all; `None` where nobody names them.
    """

    def __init__(
        self,
        ingredients: Sequence[OpenIngredient],
        constants: Constants | None,
        outside: Constants | None,
        classes: tuple[str, ...] | None,
    ) -> None:
        super().__init__(ingredients)
        self.constants, self.outside, self.classes = constants, outside, classes


@contextmanager
def opened(paths: Sequence[str | Path], folder: Path) -> Iterator[Opened]:
    """Checkpoints in one form, open for reading.

    What differs in names of wrappers and of other code, in counters or in precision is made to fit, and said.

    Args:
        paths: As `load_ingredient` takes them.
        folder: For temporary files.

    Raises:
        Mismatch: names, shapes, kinds of numbers, normalization constants or orders of classes differ, or there are
            factors of products.
        BadInput: as `load_ingredient`.
        SeasoningError: there is no room for the temporary file, or the system refuses to open so many.
    """
    with ExitStack() as stack:
        called = list(map(str, paths))
        forms: list[dict[str, Form]] = []
        own: list[OpenIngredient] = []
        said: list[Constants | None] = []
        classes: list[tuple[str, ...] | None] = []
        for path, name in zip(paths, called, strict=True):
            # What no file holds as it is stays in memory no longer than until the next checkpoint.
            located = locate(path)
            forms.append({key: Form(location.dtype, tuple(location.shape)) for key, location in located.items()})
            own.append(
                OpenIngredient(name, forms[-1], _offsets_of(located, name, folder, stack), _identity(path, located))
            )
            said.append(said_beside(located.entries, name))
            classes.append(names_beside(located.entries, path))
        found = [
            ingredient if form is None else _SharedIngredient(ingredient, form)
            for ingredient, form in zip(own, shared_form(forms, called), strict=True)
        ]
        require_fit([ingredient.like for ingredient in found], called)
        require_same_meaning(found, called)
        constants, outside = normalized_by(called, said, own, found)
        everywhere = agreed(zip(called, constants, strict=True))
        order = agreed_names(zip(called, classes, strict=True))
        yield Opened(found, everywhere, agreed(zip(called, outside, strict=True)), order)


def renamed(ingredients: Sequence[OpenIngredient]) -> list[OpenIngredient]:
    """Open checkpoints under the names that they can have in common, whatever their types."""
    plans, _ = shared_names(
        [list(ingredient) for ingredient in ingredients], [ingredient.name for ingredient in ingredients]
    )
    found = []
    for ingredient, plan in zip(ingredients, plans, strict=True):
        types = {name: torch.int64 if own is None else ingredient.like[own].dtype for name, own in plan.items()}
        form = SharedForm(plan, types)
        same = list(plan.items()) == [(name, name) for name in ingredient]
        found.append(ingredient if same else _SharedIngredient(ingredient, form))
    return found


def _identity(path: str | Path, located: Located) -> str | None:
    """What the files of a checkpoint are known again by; `None` where they do not hold all its tensors as they are."""
    files = {tensor.path for tensor in located.values() if isinstance(tensor, TensorBytes)}
    if str(path).startswith(PREFIXES) or any(isinstance(tensor, Tensor) for tensor in located.values()):
        return None
    file, part = parted(path)
    return identity_of({file, *files}, part)


def _offsets_of(located: Located, name: str, folder: Path, stack: ExitStack) -> _Offsets:
    """Where the tensors of a checkpoint can be read; what no file holds as it is goes through a temporary one."""
    loose = {name: location for name, location in located.items() if isinstance(location, Tensor)}
    lying = {name: location for name, location in located.items() if isinstance(location, TensorBytes)}
    try:
        files = {
            path: stack.enter_context(path.open("rb", buffering=0))
            for path in {location.path for location in lying.values()}
        }
        offsets = {name: (files[location.path], location.offset) for name, location in lying.items()}
        if loose:
            folder.mkdir(parents=True, exist_ok=True)
            offsets |= _copied(loose, stack.enter_context(_nameless(folder)))
    except OSError as error:
        doing = "opened" if not loose else f"unpacked to {folder}"
        raise SeasoningError(
            f"{name} could not be {doing} ({error.strerror}): make room for it, or save it as safetensors"
        ) from error
    return offsets


def _nameless(folder: Path) -> AbstractContextManager[FileIO]:
    return tempfile.TemporaryFile(buffering=0, dir=folder)


def _copied(tensors: State, file: FileIO) -> _Offsets:
    offsets: _Offsets = {}
    for name, tensor in tensors.items():
        offsets[name] = file, file.tell()
        content = as_bytes(tensor)
        while len(content):
            content = content[file.write(content) :]
    return offsets
