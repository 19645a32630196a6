"""Parameters to disk: one safetensors file, written completely or not at all, from tensors that may come in parts."""

import errno
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from seasoning.atomic import replacing
from seasoning.errors import BadInput, SeasoningError


__all__ = ["TYPES", "State", "as_bytes", "save_state", "write_state", "written_order"]

State = Mapping[str, Tensor]

# The names that safetensors gives to types.
TYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"},
    **{torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"},
}


def as_bytes(tensor: Tensor) -> memoryview:
    """The values of a tensor, one after the other; without a copy where they lie so on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def save_state(state: State, path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors and text metadata as one safetensors file, completely or not at all.

    Raises:
        As `write_state`.
    """
    write_state(state, (state[name] for name in written_order(state)), path, metadata)


def write_state(
    like: State,
    parts: Iterable[Tensor],
    path: Path,
    metadata: Mapping[str, str],
    *,
    afterwards: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Write a safetensors file from tensors that come one after the other, completely or not at all.

    Args:
        like: Names, types and shapes of what is written; values are not read, so tensors may be on the meta device.
        parts: The values, in the order of `written_order(like)`: tensor after tensor, or several at once or in pieces.
            Each part is written before the next is asked for.
        path: The file; replaced if it exists.
        metadata: Text by name.
        afterwards: Asked for the metadata in its stead when all parts are written; as long as `metadata`.

    Raises:
        BadInput: a type that safetensors has not, or metadata that is no text.
        SeasoningError: the disk is full, or the file cannot be written for another reason of the system.
        ValueError: the parts have not as many bytes as the tensors, or the metadata changed its length.
    """
    header = _header(like, metadata)
    size = sum(tensor.nbytes for tensor in like.values())
    written = 0
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(header)
            for part in parts:
                written += file.write(as_bytes(part))
            if written != size:
                raise ValueError(f"{written} bytes for tensors of {size}")
            if afterwards is not None:
                final = _header(like, afterwards())
                if len(final) != len(header):
                    raise ValueError(f"{len(final)} bytes for a header of {len(header)}")
                file.seek(0)
                file.write(final)
    except OSError as error:
        raise SeasoningError(_unwritten(path, len(header) + size, error)) from error


def written_order(like: State) -> list[str]:
    """Names in the order in which a file holds the tensors: the widest types first, which keeps all of them aligned."""
    return sorted(like, key=lambda name: (-like[name].element_size(), str(like[name].dtype), name))


def _header(like: State, metadata: Mapping[str, str]) -> bytes:
    """What precedes the tensors: the length of the rest, and the rest as JSON, padded to whole words.

    Source: the format's description in the documentation of safetensors.
    """
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise BadInput(f"metadata {key!r} is {value!r}: expected text")
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name in written_order(like):
        tensor = like[name]
        if tensor.dtype not in TYPES:
            raise BadInput(f"tensor {name!r} is of type {tensor.dtype}: expected one of {', '.join(map(str, TYPES))}")
        end = begin + tensor.nbytes
        entries[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    content = json.dumps(entries, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    return len(content).to_bytes(8, "little") + content


def _unwritten(path: Path, size: int, error: OSError) -> str:
    needed = f"{path} was not written: it needs {size / 2**20:.1f} MiB"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free / 2**20
        return f"{needed} and {path.parent} has {free:.1f} MiB free: make room there, or write to another disk"
    if error.errno == errno.EFBIG:
        return f"{needed}, more than a file may have there: raise the limit (ulimit -f), or write to another disk"
    return f"{path} was not written ({error.strerror}): check the folder, or write to another one"
