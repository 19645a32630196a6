"""Parameters on disk: read by content, lazily and without running code; named by their bytes."""

import hashlib
import json
import logging
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seasoning.checkpoints.hub import PREFIXES, pretrained
from seasoning.checkpoints.save import TYPES, State, as_bytes, save_state
from seasoning.errors import BadInput, nearest


__all__ = [
    "State",
    "TensorBytes",
    "fingerprint",
    "fingerprint_of",
    "load_ingredient",
    "locate",
    "read_metadata",
    "save_state",
]

_Value = TypeVar("_Value")

# Where training scripts put the parameters inside a checkpoint, and the prefixes that wrappers leave on their names.
_NESTS = (
    *("state_dict", "model_state_dict", "model", "ema", "net", "params", "network"),
    *("model_ema", "state_dict_ema", "ema_state_dict", "params_ema"),
)
_PREFIXES = ("module.", "_orig_mod.", "model.")
# What torch's averaged models keep beside the parameters.
_COUNTER = "n_averaged"
_TORCH_TYPES = {name: dtype for dtype, name in TYPES.items()}
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


class _Renamed(Mapping[str, _Value]):
    """A mapping whose names all lost one prefix."""

    def __init__(self, state: Mapping[str, _Value], prefix: str) -> None:
        self._state, self._prefix = state, prefix

    def __getitem__(self, name: str) -> _Value:
        return self._state[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self._prefix) for name in self._state)

    def __len__(self) -> int:
        return len(self._state)


class TensorBytes(NamedTuple):
    """What a tensor in a file is, and the byte at which its values begin there, one after the other."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int


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
    if str(source).startswith(PREFIXES):
        return pretrained(str(source))
    path = _checked(source)
    state = _Safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    return _without_prefixes(state, path)


def locate(source: str | Path) -> Mapping[str, TensorBytes | Tensor]:
    """Where the tensors of one trained network lie on disk, for reading them part by part without mapping the file.

    Args:
        source: As for `load_ingredient`.

    Returns:
        Places by name. A tensor instead of a place is one that no part of the file holds as it is: of an old PyTorch
        file, without its strides, or of a pretrained model; and any of a PyTorch file on systems other than Linux.

    Raises:
        As `load_ingredient`.
    """
    if str(source).startswith(PREFIXES):
        return pretrained(str(source))
    path = _checked(source)
    if _is_safetensors(path):
        return _without_prefixes(_places(path), path)
    state = _without_prefixes(_read_pickle(path), path)
    mappings = list(_mappings(path))
    return {name: _place(tensor, mappings) or tensor for name, tensor in state.items()}


def _checked(source: str | Path) -> Path:
    path = Path(source)
    if path.is_dir():
        raise BadInput(f"{path} is a folder: name a checkpoint in it")
    if not path.is_file():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, beside)
        raise BadInput(f"no checkpoint at {path}" + (f": did you mean {path.parent / guess}?" if guess else ""))
    return path


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
    strange = next((each["dtype"] for each in header.values() if each["dtype"] not in _TORCH_TYPES), None)
    if strange:
        raise BadInput(f"{path} holds tensors of type {strange}: expected one of {', '.join(_TORCH_TYPES)}")
    return {
        name: TensorBytes(_TORCH_TYPES[each["dtype"]], tuple(each["shape"]), 8 + length + each["data_offsets"][0])
        for name, each in header.items()
    }


def _mappings(path: Path) -> Iterator[tuple[int, int, int]]:
    """Parts of a file that are mapped into this process: first address, address after the last, offset in the file."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    mapped = f" {path.resolve()}"
    for line in lines:
        if line.endswith(mapped):
            addresses, _, offset, *_ = line.split()
            begin, end = (int(each, 16) for each in addresses.split("-"))
            yield begin, end, int(offset, 16)


def _place(tensor: Tensor, mappings: Iterable[tuple[int, int, int]]) -> TensorBytes | None:
    address = tensor.data_ptr()
    for begin, end, offset in mappings:
        if begin <= address and address + tensor.nbytes <= end and tensor.is_contiguous():
            return TensorBytes(tensor.dtype, tuple(tensor.shape), address - begin + offset)
    return None


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
        raise BadInput(_unreadable(path)) from error
    except Exception as error:
        # What damaged bytes make of torch's reader is not to be foretold; its first sentence says what it met.
        reason = str(error).split(". ")[0]
        raise BadInput(
            f"{path} is damaged ({reason}): copy it again" if _is_zip(path) else _unreadable(path)
        ) from error
    return _tensors(content, path)


def _unreadable(path: Path) -> str:
    return f"{path} is neither a safetensors nor a PyTorch file, or is damaged: copy it again"


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _tensors(content: Any, path: Path) -> State:
    """The mapping of tensors inside a checkpoint, looked for under the usual names."""
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            if _COUNTER in content and all(name.startswith("module.") for name in content if name != _COUNTER):
                _log.info("%s: an average of models, leaving %r out", path, _COUNTER)
                return {name: tensor for name, tensor in content.items() if name != _COUNTER}
            return content
        nests = [nest for nest in _NESTS if isinstance(content.get(nest), Mapping)]
        if nests:
            others = f", not from {', '.join(map(repr, nests[1:]))}" if nests[1:] else ""
            _log.info("%s: taking the parameters from %r%s", path, nests[0], others)
            return _tensors(content[nests[0]], path)
        raise BadInput(f"{path} holds {sorted(map(str, content))[:8]} and no parameters under {', '.join(_NESTS)}")
    raise BadInput(f"{path} holds a {type(content).__name__}: expected a mapping from names to tensors")


def _without_prefixes(state: Mapping[str, _Value], path: Path) -> Mapping[str, _Value]:
    for prefix in _PREFIXES:
        if len(state) and all(name.startswith(prefix) for name in state):
            _log.info("%s: taking %r off every name", path, prefix)
            return _without_prefixes(_Renamed(state, prefix), path)
    return state


def fingerprint(state: State) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, independent of their order and of the file's form."""
    return fingerprint_of(state, lambda name: [as_bytes(state[name])])


def fingerprint_of(like: State, parts: Callable[[str], Iterable[memoryview]]) -> str:
    """The fingerprint of tensors whose bytes come in parts.

    Args:
        like: Names, types and shapes; values are not read, so tensors may be on the meta device.
        parts: Name to the bytes of that tensor, one part after the other.
    """
    digest = hashlib.sha256()
    for name in sorted(like):
        digest.update(f"{name} {like[name].dtype} {tuple(like[name].shape)}\n".encode())
        for part in parts(name):
            digest.update(part)
    return digest.hexdigest()


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text metadata of a safetensors file; empty where it has none, as a PyTorch file has none.

    Raises:
        BadInput: there is no such file, or it is damaged.
    """
    path = _checked(path)
    if not _is_safetensors(path):
        return {}
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata() or {})
