"""Parameters on disk: read by content, lazily and without running code; written atomically; named by their bytes."""

import hashlib
import logging
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seasoning.errors import BadInput, UnknownName, nearest
from seasoning.files import replacing


__all__ = ["State", "fingerprint", "load_ingredient", "read_metadata", "save_state"]

State = Mapping[str, Tensor]

# Where training scripts put the parameters inside a checkpoint, and the prefixes that wrappers leave on their names.
_NESTS = ("state_dict", "model_state_dict", "model", "ema", "net", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_PRETRAINED = ("timm:", "hf-hub:", "local-dir:")
_log = logging.getLogger(__name__)


class _Safetensors(Mapping[str, Tensor]):
    """Tensors of one safetensors file, each read from disk when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(str(path), framework="pt")
        self._names = dict.fromkeys(sorted(self._file.keys()))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Renamed(Mapping[str, Tensor]):
    """A mapping whose names all lost one prefix."""

    def __init__(self, state: State, prefix: str) -> None:
        self._state, self._prefix = state, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self._state[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._state)

    def __len__(self) -> int:
        return len(self._state)


def load_ingredient(source: str | Path) -> State:
    """Names and tensors of one trained network; tensors of a file are read only when asked for.

    Args:
        source: A safetensors or PyTorch file (told apart by content, not by suffix), or a pretrained model as
            `"timm:NAME"`, `"hf-hub:OWNER/NAME"` or `"local-dir:FOLDER"`. Parameters nested in a training checkpoint
            are found, and prefixes that wrappers leave on every name are taken off.

    Returns:
        A mapping from parameter and buffer names to tensors on the CPU.

    Raises:
        BadInput: there is no such file, it is damaged, it holds no tensors, or it is a pickle that wants to run code.
        UnknownName: timm has no such model.
    """
    if str(source).startswith(_PRETRAINED):
        return _pretrained(str(source))
    path = Path(source)
    if path.is_dir():
        raise BadInput(f"{path} is a folder: name a checkpoint in it")
    if not path.is_file():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, beside)
        raise BadInput(f"no checkpoint at {path}" + (f": did you mean {path.parent / guess}?" if guess else ""))
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file starts with the length of its JSON header (8 bytes) and the header's brace.
    state = _Safetensors(path) if _opens_safetensors(path, head) else _read_pickle(path)
    return _without_prefixes(state, path)


def _opens_safetensors(path: Path, head: bytes) -> bool:
    if head[8:9] != b"{":
        return False
    try:
        with safe_open(str(path), framework="pt"):
            return True
    except SafetensorError as error:
        raise BadInput(f"{path} is a damaged safetensors file ({error}): copy it again") from error


def _read_pickle(path: Path) -> State:
    try:
        # By its path torch would take a file of this suffix for safetensors, whatever is inside.
        with path.open("rb") if path.suffix == ".safetensors" else nullcontext(path) as source:
            mapped = source is path and _is_zip(path)
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        # Only a well-formed pickle gets as far as naming what it wants to call.
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            reason = f"it asks for {wanted[1]}"
            raise BadInput(
                f"{path} is a pickle that wants to run code, which is refused ({reason}): "
                "save only the parameters, with torch.save(model.state_dict(), …) or as safetensors"
            ) from error
        raise BadInput(f"{path} is neither a safetensors nor a PyTorch file, or is damaged: copy it again") from error
    except Exception as error:
        # What damaged bytes make of torch's reader is not to be foretold.
        raise BadInput(f"{path} is damaged ({error}): copy it again") from error
    return _tensors(content, path)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _tensors(content: Any, path: Path) -> State:
    """The mapping of tensors inside a checkpoint, looked for under the usual names."""
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return content
        for nest in _NESTS:
            if isinstance(content.get(nest), Mapping):
                _log.info("%s: taking the parameters from %r", path, nest)
                return _tensors(content[nest], path)
        raise BadInput(f"{path} holds {sorted(map(str, content))[:8]} and no parameters under {', '.join(_NESTS)}")
    raise BadInput(f"{path} holds a {type(content).__name__}: expected a mapping from names to tensors")


def _without_prefixes(state: State, path: Path) -> State:
    for prefix in _PREFIXES:
        if len(state) and all(name.startswith(prefix) for name in state):
            _log.info("%s: taking %r off every name", path, prefix)
            return _without_prefixes(_Renamed(state, prefix), path)
    return state


def _pretrained(name: str) -> State:
    import timm

    if name.startswith("timm:") and not timm.is_model(name.removeprefix("timm:")):
        raise UnknownName("pretrained model", name, [f"timm:{each}" for each in timm.list_pretrained()])
    try:
        network = timm.create_model(name.removeprefix("timm:"), pretrained=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(f"{name} could not be loaded by timm: {error}") from error
    return dict(network.state_dict())


def fingerprint(state: State) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, independent of their order and of the file's form."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_state(state: State, path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors and text metadata as one safetensors file, completely or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(path) as temporary:
        save_file(tensors, str(temporary), metadata=dict(metadata))


def read_metadata(path: Path) -> dict[str, str]:
    """The text metadata of a safetensors file; empty where it has none.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise BadInput(f"{path} is damaged ({error}): remove it, or copy it again") from error
