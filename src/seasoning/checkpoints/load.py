"""Parameters on disk: read by content, lazily and without running code."""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seasoning.checkpoints.adapters import is_beside
from seasoning.checkpoints.contents import parameters, tidied
from seasoning.checkpoints.hub import PREFIXES, pretrained, published
from seasoning.checkpoints.offsets import TensorBytes, located_in_zip
from seasoning.checkpoints.pickles import read_pickle
from seasoning.checkpoints.save import TYPES, State, save_state
from seasoning.errors import BadInput, nearest


__all__ = [
    "Checkpoint",
    "Form",
    "Located",
    "State",
    "TensorBytes",
    "form_of",
    "is_there",
    "load_ingredient",
    "locate",
    "open_checkpoint",
    "parted",
    "read_entries",
    "read_metadata",
    "save_state",
]

# Prefixes that wrappers leave on the names in a checkpoint.
_PREFIXES = ("module.", "_orig_mod.", "model.")
# The name of one file of several, as the Hugging Face Hub has them.
_SHARD = re.compile(r".+-\d{5}-of-(\d{5})\.\w+")
_INDEX = "*.index.json"
_TORCH_TYPES = {name: dtype for dtype, name in TYPES.items()}
_log = logging.getLogger(__name__)


class Form(NamedTuple):
    """What a tensor is, apart from its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class Checkpoint(Mapping[str, Tensor]):
    """Tensors of one network by name, read when they are asked for, and what else its file says.

    Args:
        tensors: Names and tensors in the file.
        names: The names to go by, each with its name in the file.
        entries: What stands beside the parameters: metadata, or the other entries of a training script's file.
    """

    def __init__(self, tensors: State, names: Mapping[str, str], entries: Mapping[str, Any]) -> None:
        self.tensors, self.names, self.entries = tensors, names, entries

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


class _Safetensors(Mapping[str, Tensor]):
    """Tensors of safetensors files, each read from disk when it is asked for."""

    def __init__(self, paths: Iterable[Path]) -> None:
        found: dict[str, Any] = {}
        for path in paths:
            file = safe_open(str(path), framework="pt")
            found |= dict.fromkeys(file.keys(), file)
        self._files = {name: found[name] for name in sorted(found)}

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def form(self, name: str) -> Form:
        """Type and shape of a tensor, by the header of its file."""
        part = self._files[name].get_slice(name)
        dtype = _TORCH_TYPES.get(part.get_dtype())
        return Form(self[name].dtype if dtype is None else dtype, tuple(part.get_shape()))


def form_of(state: State, name: str) -> Form:
    """Type and shape of a tensor; its values are not read where that can be avoided."""
    if isinstance(state, Checkpoint):
        return form_of(state.tensors, state.names[name])
    if isinstance(state, _Safetensors):
        return state.form(name)
    tensor = state[name]
    return Form(tensor.dtype, tuple(tensor.shape))


def load_ingredient(source: str | Path) -> State:
    """Names and tensors of one trained network; tensors of a file are read only when asked for.

    Args:
        source: A safetensors or PyTorch file (told apart by content, not by suffix); the index of one in several files
            (`*.index.json`), or the folder that holds it; or a pretrained model as `"timm:NAME"`, `"hf-hub:OWNER/NAME"`
            or `"local-dir:FOLDER"`. Parameters nested in a training checkpoint are found, and prefixes that wrappers
            leave on every name are taken off. Of several networks in a file the trained one is taken, not its moving
            average; `"FILE:NAME"` takes the one in the entry, or under the prefix, of that name.

    Returns:
        A mapping from parameter and buffer names to tensors on the CPU.

    Raises:
        BadInput: there is no such file, it is damaged, it holds no tensors, or it is a pickle that wants to run code.
        UnknownName: timm has no such model.
    """
    return open_checkpoint(source)


def open_checkpoint(source: str | Path) -> Checkpoint:
    """As `load_ingredient`, with what the file says beside the parameters.

    Raises:
        As `load_ingredient`.
    """
    if str(source).startswith(PREFIXES):
        state = pretrained(str(source))
        return Checkpoint(state, {name: name for name in state}, published(str(source)))
    path, part = parted(source)
    files, other = _files(path), None
    if all(map(_is_safetensors, files)):
        tensors: State = _Safetensors(files)
        entries: Mapping[str, Any] = read_metadata(path)
    else:
        found = [parameters(read_pickle(file), str(path), part) for file in files]
        tensors = {name: tensor for part in found for name, tensor in part.tensors.items()}
        entries = {key: value for part in found for key, value in part.entries.items()}
        part, other = found[0].part, found[0].other
    _require_complete(path, tensors)
    names = tidied(tensors, str(path), part)
    if part is not None:
        return Checkpoint(tensors, {name.removeprefix(f"{part}."): name for name in names}, entries)
    checkpoint = Checkpoint(tensors, _without_prefixes({name: name for name in names}, path), entries)
    if other is not None:
        _log.info("%s holds another network: %s:%s takes it", path, path, other)
    return checkpoint


class Located(dict[str, TensorBytes | Tensor]):
    """Where tensors lie, by name, and what else their file says."""

    def __init__(self, places: Mapping[str, TensorBytes | Tensor], entries: Mapping[str, Any]) -> None:
        super().__init__(places)
        self.entries = entries


def locate(source: str | Path) -> Located:
    """Where the tensors of one trained network lie on disk, for reading them part by part without mapping the file.

    Args:
        source: As for `load_ingredient`.

    Returns:
        Places by name. A tensor instead of a place is one that no part of the file holds as it is: of an old PyTorch
        file, without its strides, of one of several files, or of a pretrained model.

    Raises:
        As `load_ingredient`.
    """
    checkpoint = open_checkpoint(source)
    files = [] if str(source).startswith(PREFIXES) else _files(parted(source)[0])
    if isinstance(checkpoint.tensors, _Safetensors):
        places = {name: place for file in files for name, place in _places(file).items()}
        return Located({name: places[given] for name, given in checkpoint.names.items()}, checkpoint.entries)
    tensors = dict(checkpoint.items())
    return Located(located_in_zip(tensors, files[0]) if len(files) == 1 else tensors, checkpoint.entries)


def is_there(source: str | Path) -> bool:
    """Whether a checkpoint of this name can be there: a file, a folder, a part of a file, or a published model."""
    head = str(source).rpartition(":")[0]
    return str(source).startswith(PREFIXES) or Path(source).exists() or (head != "" and Path(head).exists())


def parted(source: str | Path) -> tuple[Path, str | None]:
    """The file of `"FILE"` or `"FILE:NAME"`, of a folder its index, and the name.

    Raises:
        BadInput: there is no such file, or it is one of several that belong together.
    """
    path, part = Path(source), None
    if not path.exists():
        head, _, tail = str(source).rpartition(":")
        if head and tail and Path(head).exists():
            path, part = Path(head), tail
    if path.is_dir():
        indices = sorted(path.glob(_INDEX))
        if len(indices) != 1:
            raise BadInput(f"{path} is a folder: name a checkpoint in it")
        path = indices[0]
    if not path.is_file():
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, beside)
        raise BadInput(f"no checkpoint at {path}" + (f": did you mean {path.parent / guess}?" if guess else ""))
    shard = _SHARD.fullmatch(path.name)
    if shard and int(shard[1]) > 1:
        raise BadInput(
            f"{path} is one of {int(shard[1])} files of one network: name their index, "
            f"such as {path.parent / 'model.safetensors.index.json'}"
        )
    return path, part


def read_entries(source: str | Path) -> Mapping[str, Any]:
    """What a checkpoint says beside its parameters: metadata, entries of a training script, a published configuration.

    Raises:
        As `load_ingredient`.
    """
    if str(source).startswith(PREFIXES):
        return published(str(source))
    path, part = parted(source)
    first = _files(path)[0]
    return read_metadata(path) if _is_safetensors(first) else parameters(read_pickle(first), str(path), part).entries


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text metadata of a safetensors file; empty where it has none, as a PyTorch file has none.

    Raises:
        BadInput: there is no such file, or it is damaged.
    """
    metadata: dict[str, str] = {}
    for file in _files(parted(path)[0]):
        if _is_safetensors(file):
            with safe_open(str(file), framework="pt") as opened:
                metadata |= opened.metadata() or {}
    return metadata


def _files(path: Path) -> list[Path]:
    """The files of a checkpoint: itself, or those that an index names.

    Raises:
        BadInput: the index cannot be read, or a file is not there.
    """
    if path.suffix != ".json":
        return [path]
    try:
        names = sorted(set(_weight_map(path).values()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path} is no index of a checkpoint: expected JSON with a weight_map") from error
    lacking = [name for name in names if not (path.parent / name).is_file()]
    if lacking or not names:
        listed = ", ".join(lacking) or "any file"
        raise BadInput(f"{path} names {len(names)} files, and {path.parent} lacks {listed}: copy all of them")
    return [path.parent / name for name in names]


def _weight_map(index: Path) -> dict[str, str]:
    return {str(name): str(file) for name, file in json.loads(index.read_text())["weight_map"].items()}


def _require_complete(path: Path, tensors: State) -> None:
    lacking = [name for name in _weight_map(path) if name not in tensors] if path.suffix == ".json" else []
    if lacking:
        raise BadInput(f"the files of {path} lack tensor {lacking[0]!r} and {len(lacking) - 1} more: copy them again")


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file starts with the length of its JSON header (8 bytes) and the header's brace.
    if head[8:9] != b"{":
        return False
    try:
        with safe_open(str(path), framework="pt"):
            return True
    except SafetensorError as error:
        raise BadInput(f"{path} is a damaged safetensors file ({error}): remove it, or copy it again") from error


def _places(path: Path) -> dict[str, TensorBytes]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    strange = next((entry["dtype"] for entry in header.values() if entry["dtype"] not in _TORCH_TYPES), None)
    if strange:
        raise BadInput(f"{path} holds tensors of type {strange}: expected one of {', '.join(_TORCH_TYPES)}")
    return {
        name: TensorBytes(
            _TORCH_TYPES[entry["dtype"]], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0], path
        )
        for name, entry in header.items()
    }


def _without_prefixes(names: Mapping[str, str], path: Path) -> Mapping[str, str]:
    layers = [name for name in names if not is_beside(name)]
    for prefix in _PREFIXES:
        if layers and all(name.startswith(prefix) for name in layers):
            _log.info("%s: taking %r off every name", path, prefix)
            return _without_prefixes({name.removeprefix(prefix): given for name, given in names.items()}, path)
    return names
