"""Fingerprints of parameters: one line of text that two networks share only if every tensor is the same, bit by bit.

BLAKE3 over a line for each tensor, of its name, type, shape and the BLAKE3 of its bytes. Tensors come in any order,
so a file can be hashed in the same read that mixes it; a fingerprint does not depend on the form of the file.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from blake3 import blake3
from torch import Tensor

from seasoning.checkpoints.save import as_bytes


__all__ = ["UNKNOWN", "RunningFingerprint", "fingerprint", "is_earlier", "sha256_fingerprint"]

_MARK = "blake3:"
# As long as every fingerprint, for a header whose length must be known before.
UNKNOWN = _MARK + "0" * 64


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """The fingerprint of tensors in memory, `blake3:` and 64 hexadecimal digits."""
    running = RunningFingerprint(state)
    for name, tensor in state.items():
        running.update(name, 0, as_bytes(tensor))
    return running.finished()


class RunningFingerprint:
    """A fingerprint of tensors whose bytes come in runs: the tensors in any order, each from its start to its end.

    Args:
        like: Names, types and shapes; values are not read, so tensors may be on the meta device.
    """

    def __init__(self, like: Mapping[str, Tensor]) -> None:
        self._like = like
        self._digests: dict[str, str] = {}
        self._begun: dict[str, tuple[blake3, int]] = {}

    def update(self, name: str, begin: int, part: memoryview) -> None:
        """Take bytes of a tensor from a number on; a run that does not go on where the last one ended says nothing."""
        if name in self._digests:
            return
        hasher, done = self._begun.pop(name, (None, 0))
        hasher = hasher or blake3()
        if begin == done:
            hasher.update(part)
            done += len(part)
        if done == self._like[name].nbytes:
            self._digests[name] = hasher.hexdigest()
        else:
            self._begun[name] = hasher, done

    def missing(self) -> Iterator[tuple[str, int]]:
        """Tensors whose bytes have not all come, each with the number of those that have."""
        for name in self._like:
            if name not in self._digests:
                yield name, self._begun[name][1] if name in self._begun else 0

    def finished(self) -> str:
        """The fingerprint; every byte of every tensor has come."""
        digest = blake3()
        for name in sorted(self._like):
            digest.update(f"{_line(name, self._like[name])} {self._digests[name]}\n".encode())
        return _MARK + digest.hexdigest()


def is_earlier(mark: str) -> bool:
    """Whether a fingerprint is of an earlier version, which took SHA-256."""
    return not mark.startswith(_MARK)


def sha256_fingerprint(like: Mapping[str, Tensor], parts: Callable[[str], Iterable[memoryview]]) -> str:
    """The fingerprint that earlier versions wrote into soups, for their verification.

    Args:
        like: Names, types and shapes.
        parts: Name to the bytes of that tensor, one part after the other.
    """
    digest = hashlib.sha256()
    for name in sorted(like):
        digest.update(f"{_line(name, like[name])}\n".encode())
        for part in parts(name):
            digest.update(part)
    return digest.hexdigest()


def _line(name: str, tensor: Tensor) -> str:
    return f"{name} {tensor.dtype} {tuple(tensor.shape)}"
