"""What a network computes beside its parameters: the code that it comes from, and the settings that it keeps."""

import hashlib
from argparse import Namespace
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seasoning.checkpoints.save import as_bytes


__all__ = ["code_identity"]

# What every module has, whatever it computes.
_COMMON = frozenset(vars(nn.Module())) | {"training"}
_DEPTH = 6  # of values in values


def code_identity(network: nn.Module, modules: Iterable[ModuleType], folder: Path) -> str:
    """SHA-256 of all that changes what a network from somebody's file computes, without being a parameter of it.

    That is the text of the modules, the plain values in them (they may come from another file, or the environment), and
    of every layer its class, its plain attributes, and its tensors that are not saved.

    Args:
        network: The network.
        modules: The file that builds it, and what that imported from its own folder.
        folder: That folder; names are taken from there, so that it may move.
    """
    digest = hashlib.sha256()
    own = sorted(modules, key=lambda each: str(each.__file__))
    names = frozenset(module.__name__ for module in own)

    def feed(value: Any) -> None:
        # A folder that is mentioned may lie elsewhere tomorrow.
        digest.update(_text(value, _DEPTH, names).replace(str(folder), "").encode() + b"\n")

    for module in own:
        path = Path(str(module.__file__)).resolve()
        feed(str(path))
        digest.update(path.read_bytes() if path.is_file() else b"")
        feed({name: value for name, value in vars(module).items() if name[:2] != "__"})
    for name, layer in network.named_modules():
        saved = set(layer._buffers) - layer._non_persistent_buffers_set
        feed([name, _name(type(layer))])
        for kind in type(layer).__mro__:
            if kind.__module__ in names:
                feed({key: value for key, value in vars(kind).items() if key[:2] != "__"})
        feed({key: value for key, value in vars(layer).items() if key not in _COMMON})
        feed({key: value for key, value in layer._buffers.items() if key not in saved})
    return digest.hexdigest()


def _text(value: Any, depth: int, own: frozenset[str]) -> str:
    """A value in words that are the same in every process; of what has none, its class.

    Args:
        value: Anything.
        depth: Of values in it that are looked at.
        own: Names of modules whose objects are looked into.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype)):
        return repr(value)
    if isinstance(value, (Tensor, np.ndarray)):
        tensor = value if isinstance(value, Tensor) else torch.from_numpy(value.copy())
        return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(as_bytes(tensor)).hexdigest()}"
    if depth == 0 or isinstance(value, nn.Module):
        return _name(type(value))
    inner = partial(_text, depth=depth - 1, own=own)
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{key!r}: {inner(item)}" for key, item in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(inner, value))) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inner, value)) + "]"
    if isinstance(value, partial):
        return f"{inner(value.func)}({inner(value.args)}, {inner(value.keywords)})"
    if isinstance(value, Enum):
        return f"{_name(type(value))} {value.name}"
    if callable(value):
        # What a function made by another one remembers of it.
        return _name(value) + inner(_remembered(value))
    looked_into = is_dataclass(value) or isinstance(value, (Namespace, SimpleNamespace))
    if looked_into or type(value).__module__ in own:
        return f"{_name(type(value))} {inner(getattr(value, '__dict__', {}))}"
    return _name(type(value))


def _remembered(function: Any) -> list[Any]:
    cells = getattr(function, "__closure__", None) or ()
    found = []
    for cell in cells:
        # One that is not filled yet has nothing.
        with suppress(ValueError):
            found.append(cell.cell_contents)
    return found


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
