"""PyTorch files without running anything: objects of other classes become stubs, calls of functions are refused.

`torch.load` reads tensors and plain containers only (`weights_only=True`). Training scripts also leave numbers of
numpy, paths, namespaces and whole networks in their files. For each of their classes torch is given a stub of the same
name, so that nothing is imported and nothing of the file is called; which these are is read from the pickle beforehand.
"""

import _compat_pickle
import pickle
import pickletools
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from seasoning.errors import BadInput


__all__ = ["Stub", "is_zip", "module_state", "read_pickle"]

# What a pickle may call though it begins with a small letter, or belongs to the standard library: it makes data.
_MAKE_DATA = {
    *("numpy.dtype", "numpy.ndarray", "_codecs.encode", "functools.partial", "copyreg._reconstructor"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
    *(f"numpy.random._pickle.__{name}_ctor" for name in ("randomstate", "generator", "bit_generator")),
    *(f"builtins.{name}" for name in ("set", "frozenset", "bytearray", "bytes", "complex", "range", "slice", "object")),
    *(f"builtins.{name}" for name in ("list", "dict", "tuple", "int", "float", "str", "bool", "getattr")),
    *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "types.SimpleNamespace", "argparse.Namespace"),
}
_MODULES_OF_DATA = ("collections", "datetime", "pathlib", "torch.serialization", "torch.storage")
# Modules that torch never lets a pickle name.
_BLOCKED = ("sys", "os", "posix", "nt")
# A PyTorch file of before 2020 holds so many pickles one after the other; the fourth is the content.
_LEGACY_PICKLES = 5


class Stub:
    """What stands for an object whose class is not loaded: its attributes, where it has any."""

    attributes: Mapping[str, Any]

    def __new__(cls, *arguments: Any, **named: Any) -> "Stub":
        """A stub; what the object would be made of is passed over."""
        stub = super().__new__(cls)
        stub.attributes = {}
        return stub

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Nothing: a pickle may make objects without it."""

    def __setstate__(self, state: Any) -> None:
        # Objects with slots have a pair of attributes.
        parts = state if isinstance(state, tuple) else (state,)
        self.attributes = {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}


class _Named(NamedTuple):
    """A class or a function that the pickle names."""

    name: str


class _Made(NamedTuple):
    """What the pickle makes by one."""

    name: str


class _Uses(NamedTuple):
    """What a pickle does with the names in it."""

    named: set[str]
    called: set[str]
    filled: set[str]  # objects that take items by key
    extended: set[str]  # objects that take items one after the other


def read_pickle(path: Path) -> Any:
    """The content of a PyTorch file; tensors are mapped where the file allows it.

    Raises:
        BadInput: it is damaged, no PyTorch file, a program (TorchScript), or a pickle that wants to run code.
    """
    try:
        return _loaded(path)
    except pickle.UnpicklingError:
        # Damaged, or with objects that torch does not know.
        uses = _uses(path)
    blame = _code(uses)
    if blame is not None:
        raise BadInput(
            f"{path} is a pickle that wants to run code, which is refused (it asks for {blame}): "
            "save only the parameters, with torch.save(model.state_dict(), …) or as safetensors"
        )
    try:
        with _known(_stubs(uses)):
            return _loaded(path)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):
            raise BadInput(
                f"{path} was written with a pickle protocol that is not read: save it again by torch.save(content, "
                "file), which writes protocol 2, or as safetensors"
            ) from error
        listed = ", ".join(sorted(uses.named)[:5])
        raise BadInput(
            f"{path} holds objects that cannot be read without running code ({listed}): "
            "save only the parameters, with torch.save(model.state_dict(), …) or as safetensors"
        ) from error


def module_state(content: Any) -> Mapping[str, Any] | None:
    """Parameters and persistent buffers by name, if this stub stands for a network; else `None`."""
    if not isinstance(content, Stub) or not {"_parameters", "_modules"} <= content.attributes.keys():
        return None
    return dict(_named_tensors(content.attributes, ""))


def is_zip(path: Path) -> bool:
    """Whether a file is an archive, as PyTorch files since 2020 are."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _loaded(path: Path) -> Any:
    try:
        # By its path torch would take a file of this suffix for safetensors, whatever is inside.
        opened = path.open("rb") if path.suffix == ".safetensors" else nullcontext(path)
        with opened as source, warnings.catch_warnings():
            # What torch warns of here, another protocol than its own, ends in an error below.
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True, mmap=source is path and is_zip(path))
    except pickle.UnpicklingError:
        raise
    except Exception as error:
        if is_zip(path) and "TorchScript" in str(error):
            raise BadInput(
                f"{path} is a TorchScript program, which is not run: save the parameters of the network instead"
            ) from error
        # What damaged bytes make of torch's reader is not to be foretold; its first sentence says what it met.
        reason = str(error).split(". ")[0]
        damaged = is_zip(path) and not _is_other_archive(path)
        raise BadInput(f"{path} is damaged ({reason}): copy it again" if damaged else _unreadable(path)) from error


def _is_other_archive(path: Path) -> bool:
    """Whether an archive is whole and holds no pickle, such as arrays of numpy."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _unreadable(path: Path) -> str:
    return f"{path} is neither a safetensors nor a PyTorch file, or is damaged: copy it again"


def _named_tensors(attributes: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
    fleeting = attributes.get("_non_persistent_buffers_set") or ()
    for section in ("_parameters", "_buffers"):
        for name, value in (attributes.get(section) or {}).items():
            if isinstance(value, Tensor) and name not in fleeting:
                yield prefix + name, value.detach()
    for name, child in (attributes.get("_modules") or {}).items():
        if isinstance(child, Stub):
            yield from _named_tensors(child.attributes, f"{prefix}{name}.")


def _code(uses: _Uses) -> str | None:
    """A function that the pickle wants to call, or something of a module that no pickle may name."""
    blocked = (name for name in sorted(uses.named) if name.partition(".")[0] in _BLOCKED)
    return next(blocked, next((name for name in sorted(uses.called) if not _makes_data(name)), None))


def _makes_data(name: str) -> bool:
    """Whether what bears this name is a class by all appearances, or known to make data only."""
    module, _, last = name.rpartition(".")
    if name in _MAKE_DATA or module.startswith(_MODULES_OF_DATA):
        return True
    if module in ("torch._utils", "torch._tensor"):
        return last.startswith("_rebuild_")
    if module.startswith("numpy.random"):
        return last.startswith("__pyx_unpickle_")
    looks_like_a_class = last.lstrip("_")[:1].isupper() or name in ("torch.device", "torch.dtype")
    return looks_like_a_class and module.partition(".")[0] not in sys.stdlib_module_names


def _stubs(uses: _Uses) -> list[type]:
    made = []
    for name in sorted(uses.named):
        module, _, last = name.rpartition(".")
        where = {"__module__": module, "__qualname__": last}
        if name in uses.filled:
            # torch fills these mappings only, by their exact type.
            made.append(type(last, (), {**where, "__new__": lambda cls, *arguments, **named: OrderedDict()}))
        elif name in uses.extended:
            made.append(type(last, (list,), {**where, "__init__": lambda self, *arguments, **named: None}))
        else:
            made.append(type(last, (Stub,), where))
    return made


@contextmanager
def _known(stubs: Iterable[type]) -> Iterator[None]:
    """Let torch read the names of these stubs as the stubs, and as before afterwards."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(list(stubs))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _uses(path: Path) -> _Uses:
    uses = _Uses(set(), set(), set(), set())
    try:
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
                with archive.open(name) as file:
                    _follow(file, uses)
        else:
            with path.open("rb") as file:
                for number in range(_LEGACY_PICKLES):
                    # A plain pickle ends after the first.
                    if number and not file.peek(1):
                        break
                    _follow(file, uses)
    # A pickle is a program of a small machine: a damaged one can fail in any way.
    except Exception as error:
        raise BadInput(_unreadable(path)) from error
    return uses


def _follow(file: IO[bytes], uses: _Uses) -> None:
    """Go through a pickle as its reader would, making nothing, and note what it does with the names in it."""
    stack: list[Any] = []
    outer: list[list[Any]] = []
    memo: dict[int, Any] = {}
    for operation, argument, _ in pickletools.genops(file):
        code = operation.name
        if code == "MARK":
            outer.append(stack)
            stack = []
        elif code in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if code == "MEMOIZE" else int(str(argument))] = stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(str(argument))])
        elif code == "POP" and not stack:
            stack = outer.pop()
        else:
            taken, stack = _taken(operation, stack, outer)
            _note(code, taken, uses)
            stack += _pushed(operation, argument, taken, uses)


def _taken(operation: Any, stack: list[Any], outer: list[list[Any]]) -> tuple[list[Any], list[Any]]:
    """What an operation takes from the stack, and the stack without it."""
    before = operation.stack_before
    if pickletools.markobject in before:
        below = outer.pop()
        # What stands before the mark, such as the mapping that items go into, is taken, too.
        count = before.index(pickletools.markobject)
        return below[len(below) - count :] + stack, below[: len(below) - count]
    count = len(before)
    return stack[len(stack) - count :], stack[: len(stack) - count]


def _note(code: str, taken: list[Any], uses: _Uses) -> None:
    if code in ("REDUCE", "OBJ"):
        # The result of a call that is called itself goes by the first call's name.
        uses.called.add(taken[0].name if isinstance(taken[0], _Named) else f"{getattr(taken[0], 'name', '?')}.?")
    elif code in ("SETITEM", "SETITEMS") and isinstance(taken[0], _Made):
        uses.filled.add(taken[0].name)
    elif code in ("APPEND", "APPENDS", "ADDITEMS") and isinstance(taken[0], _Made):
        uses.extended.add(taken[0].name)


def _pushed(operation: Any, argument: Any, taken: list[Any], uses: _Uses) -> list[Any]:
    code = operation.name
    if code in ("GLOBAL", "INST", "STACK_GLOBAL"):
        module, name = str(argument).split(" ", 1) if argument is not None else map(str, taken)
        named = _Named(_today(module, name))
        uses.named.add(named.name)
        if code == "INST":
            uses.called.add(named.name)
        return [named if code != "INST" else _Made(named.name)]
    if code in ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ"):
        return [_Made(getattr(taken[0], "name", "?"))]
    if code in ("BUILD", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS"):
        return [taken[0]]
    if code == "DUP":
        return [taken[0], taken[0]]
    text = argument if isinstance(argument, str) else None
    return [text] * len(operation.stack_after)


def _today(module: str, name: str) -> str:
    """A name of Python 2, which pickles of this protocol use, as it is called today."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[module, name]
    else:
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    return f"{module}.{name}"
