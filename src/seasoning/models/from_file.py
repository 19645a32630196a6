"""A network that a function in somebody's own file builds."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from seasoning.errors import BadInput, UnknownName, nearest
from seasoning.models.code_identity import code_identity


__all__ = ["is_file_name", "network_from_file", "require_file"]

_MODULE = "seasoning_architecture"


def is_file_name(name: str) -> bool:
    """Whether the name of an architecture is that of a file: `path/to/file.py:function`."""
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def network_from_file(name: str, num_classes: int, options: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """Import a file and call one of its functions with `num_classes` and the options.

    The file runs anew on every call, with its folder at the end of the import path. `in_chans` is left out where the
    function does not take it.

    Returns:
        The network, and what it is known by apart from its parameters (see `code_identity`).

    Raises:
        BadInput: there is no such file, it or the function raises, the function does not take an option, or what it
            returns is no `nn.Module`.
        UnknownName: the file has no such function.
    """
    path, called = require_file(name)
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} cannot be imported as a Python module")
    module = importlib.util.module_from_spec(spec)
    folder = path.resolve().parent
    with _importable(module, folder):
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise BadInput(f"{path} raised {type(error).__name__} on import: {error}") from error
        own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        function = getattr(module, called, None)
        if not callable(function):
            raise UnknownName(f"function of {path}", called, own)
        arguments = _arguments(function, name, {"num_classes": num_classes, **options})
        try:
            network = function(**arguments)
        except Exception as error:
            raise BadInput(f"{name} raised {type(error).__name__}: {error}") from error
        if not isinstance(network, nn.Module):
            raise BadInput(f"{name} returned a {type(network).__name__}: expected a torch.nn.Module")
        return network, code_identity(network, [module, *_neighbours(folder)], folder)


def require_file(name: str) -> tuple[Path, str]:
    """The file and the function of `path/to/file.py:function`.

    Raises:
        BadInput: no function is named, or there is no such file.
    """
    text, _, called = name.rpartition(":")
    if not text.endswith(".py") or not called:
        raise BadInput(f"architecture {name!r}: name a function of the file, as in {name.rstrip(':')}:build")
    path = Path(text)
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        guess = nearest(path.name, beside)
        raise BadInput(f"no file {path}" + (f": did you mean {path.parent / guess}?" if guess else ""))
    return path, called


@contextmanager
def _importable(module: ModuleType, folder: Path) -> Iterator[None]:
    """Let a file find its neighbours and, as dataclasses do, itself; both are forgotten afterwards.

    Else a file in another folder would be given this one's neighbours of the same names. No bytecode is written beside
    them: by its time stamp that of a file that was just changed may pass for the new one's.
    """
    before, writes = set(sys.modules), sys.dont_write_bytecode
    sys.path.append(str(folder))
    sys.modules[_MODULE] = module
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        for name in set(sys.modules) - before:
            if _beside(sys.modules[name], name.partition(".")[0], folder):
                del sys.modules[name]
        sys.path.remove(str(folder))
        sys.modules.pop(_MODULE, None)


def _neighbours(folder: Path) -> list[ModuleType]:
    """Modules that were imported from a folder, but for this package's."""
    found = [(name.partition(".")[0], module) for name, module in list(sys.modules.items()) if module is not None]
    return [
        module
        for top, module in found
        if top not in (_MODULE, __name__.partition(".")[0])
        and isinstance(getattr(module, "__file__", None), str)
        and _beside(module, top, folder)
    ]


def _beside(module: ModuleType, top: str, folder: Path) -> bool:
    """Whether a module or its package lies in the folder itself, not in an environment somewhere below it."""
    paths = getattr(module, "__path__", ())
    # Some libraries put objects of their own instead of modules.
    found = [getattr(module, "__file__", None), *(paths if isinstance(paths, Iterable) else ())]
    locations = [Path(location) for location in found if isinstance(location, str)]
    return any(location.is_relative_to(path) for location in locations for path in (folder / top, folder / f"{top}.py"))


def _arguments(function: Callable[..., Any], name: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the function takes of what is given.

    Raises:
        BadInput: it does not take one of them, or wants something that is not given.
    """
    signature = inspect.signature(function)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    named = {
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    if inspect.Parameter.VAR_KEYWORD not in kinds and "in_chans" not in named:
        given = {option: value for option, value in given.items() if option != "in_chans"}
    try:
        signature.bind(**given)
    except TypeError as error:
        raise BadInput(f"{name}{signature} cannot be called with {', '.join(given)}: {error}") from error
    return given
