"""Where the tensors of a PyTorch file lie in it, so that they can be read part by part."""

import ctypes
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor


__all__ = ["TensorBytes", "located_in_zip"]

_LOCAL_HEADER = 30  # bytes of a zip record's header before its name
_PROBE = 64  # bytes of each tensor that tell two layouts of one shape apart


class TensorBytes(NamedTuple):
    """What a tensor in a file is, and the byte at which its values begin there, one after the other."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    path: Path


def located_in_zip(tensors: Mapping[str, Tensor], path: Path) -> dict[str, TensorBytes | Tensor]:
    """The offsets of the tensors of a PyTorch file that torch mapped into memory as a whole.

    They lie as far from each other in memory as in the file, so one number, the address of the file's first byte,
    places them all. It is found from the records of the zip archive: their beginnings and sizes must fit all tensors.

    Args:
        tensors: Of one file, by name.
        path: The file.

    Returns:
        Places by name; a tensor instead where there is none: of a file that is no zip archive, or without its strides.
    """
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    first = _first_byte({pointer: size for pointer, size in storages.items() if size}, path)
    return {
        name: tensor
        if first is None or not tensor.is_contiguous() or not tensor.nbytes
        else TensorBytes(tensor.dtype, tuple(tensor.shape), tensor.data_ptr() - first, path)
        for name, tensor in tensors.items()
    }


def _first_byte(storages: Mapping[int, int], path: Path) -> int | None:
    """The address of the file's first byte, if its records place storages of these addresses and sizes in one way."""
    if not storages or not zipfile.is_zipfile(path):
        return None
    records = _records(path)
    pointer, size = next(iter(storages.items()))
    fitting = [
        pointer - begin
        for begin, length in records.items()
        if length == size and all(records.get(other - pointer + begin) == own for other, own in storages.items())
    ]
    with path.open("rb") as file:
        found = [
            first for first in fitting if all(_same(file, first, storage, storages[storage]) for storage in storages)
        ]
    return found[0] if len(found) == 1 else None


def _records(path: Path) -> dict[int, int]:
    """Where the records of an archive that are stored as they are begin, and their sizes."""
    records = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if info.compress_type == zipfile.ZIP_STORED:
                file.seek(info.header_offset + _LOCAL_HEADER - 4)
                name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
                records[info.header_offset + _LOCAL_HEADER + name + extra] = info.file_size
    return records


def _same(file: BinaryIO, first: int, pointer: int, size: int) -> bool:
    """Whether the beginning of a storage is what the file holds there."""
    file.seek(pointer - first)
    return file.read(min(size, _PROBE)) == ctypes.string_at(pointer, min(size, _PROBE))
