"""By what a network normalizes images: found wherever a checkpoint says it, compared, and refused where impossible."""

import logging
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from seasoning.checkpoints.save import State
from seasoning.errors import Mismatch


__all__ = [
    "Constants",
    "agreed",
    "alike",
    "carried",
    "in_units_of_255",
    "is_short",
    "kind_of",
    "pairs",
    "said_in",
    "sound",
]

_log = logging.getLogger(__name__)

# Where users say constants, for errors: one of these is what they said, whichever command it was.
_SAID_BY = "--mean and --std, or network.mean and network.std of a plan or a recipe"

# Constants that differ by less are one set, rounded differently; neighbouring values of a pixel differ by 0.004.
_SAME_CONSTANT = 1e-3
# Channels that a set of constants has at most; longer tensors of these names are something else.
_MOST_CHANNELS = 16
_WHOSE = r"(?:.*\.)?(?:(?:pixel|image|img|input|data|norm|normalize|normalization|channel|new)?_?)"
_NAMES = {
    "mean": re.compile(_WHOSE + r"(?:means?|mu)_?"),
    "std": re.compile(_WHOSE + r"(?:stds?|stdev|sigma)_?"),
}
# Entries of a checkpoint or of its metadata that hold constants, and those that hold such entries.
_ENTRIES = (("mean", "std"), ("image_mean", "image_std"), ("pixel_mean", "pixel_std"))
_SECTIONS = (
    *("normalization", "normalize", "normalizer", "preprocess", "preprocessing", "pretrained_cfg", "data_config"),
    *("config", "cfg", "args", "hparams", "hyper_parameters", "data", "dataset", "transform", "transforms", "model"),
)


class Constants(NamedTuple):
    """By what a network normalizes images in [0, 1]: one number for each channel, or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two means, or two standard deviations, are one set; a single number serves every channel."""
    if 1 not in (len(one), len(other)) and len(one) != len(other):
        return False
    count = max(len(one), len(other))
    one, other = (values * count if len(values) == 1 else values for values in (tuple(one), tuple(other)))
    return all(abs(a - b) <= _SAME_CONSTANT for a, b in zip(one, other, strict=True))


def agreed(said: Iterable[tuple[str, Constants | None]]) -> Constants | None:
    """The constants that all agree on; `None` where nobody says any.

    Args:
        said: Who says it, in words for the error, and what.

    Raises:
        Mismatch: two say different things.
    """
    known = [(who, constants) for who, constants in said if constants is not None]
    for who, constants in known[1:]:
        for which, one, other in zip(Constants._fields, known[0][1], constants, strict=True):
            if not alike(one, other):
                raise Mismatch(
                    f"{known[0][0]} normalizes images with {which} {_listed(one)} and {who} with {_listed(other)}: "
                    "mix copies that see the same"
                )
    return known[0][1] if known else None


@lru_cache(maxsize=2**16)
def kind_of(name: str) -> str | None:
    """`"mean"` or `"std"` if a tensor of this name may be a constant of normalization."""
    return next((kind for kind, pattern in _NAMES.items() if pattern.fullmatch(name)), None)


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Names of tensors that may be a mean and the standard deviation beside it."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        kind = kind_of(name)
        # Numbered modules, but for the first, are blocks of a network: their statistics are no constants.
        if kind is not None and not any(part.isdigit() and part != "0" for part in name.split(".")):
            found.setdefault(name.rpartition(".")[0], {}).setdefault(kind, name)
    return [(pair["mean"], pair["std"]) for pair in found.values() if len(pair) == 2]


def carried(state: State, own: Collection[str] | None = None, given: Constants | None = None) -> Constants | None:
    """The constants that a checkpoint holds as tensors.

    Args:
        state: Names and tensors of the checkpoint.
        own: Names that are the network's own, where the network is known: these do not count, and every other tensor
            of such a name is a constant. Without it, only a mean beside a standard deviation is.
        given: What the caller says, with `own`: taken where the checkpoint says the same in units of 255.

    Raises:
        Mismatch: with `own`, only one of the two is there; several differ, or they are impossible.
    """
    if own is not None:
        return _beside(state, own, given)
    for mean, std in pairs(state):
        values = [state[name] for name in (mean, std)]
        if all(map(is_short, values)):
            found = Constants(_values(values[0]), _values(values[1]))
            if all(map(math.isfinite, (*found.mean, *found.std))) and min(found.std) > 0:
                return found
    return None


def is_short(tensor: Tensor) -> bool:
    """Whether a tensor has as many numbers as images have channels."""
    return tensor.is_floating_point() and 1 <= tensor.numel() <= _MOST_CHANNELS


def _beside(state: State, own: Collection[str], given: Constants | None) -> Constants | None:
    found: dict[str, tuple[str, tuple[float, ...]]] = {}
    for name in state:
        kind = None if name in own else kind_of(name)
        if kind is None:
            continue
        values = _values(state[name])
        if kind in found and not alike(found[kind][1], values):
            raise Mismatch(f"the checkpoint holds two normalizations that differ: {found[kind][0]!r} and {name!r}")
        found.setdefault(kind, (name, values))
    if len(found) == 1:
        ((kind, (name, _)),) = found.items()
        other = "std" if kind == "mean" else "mean"
        raise Mismatch(f"the checkpoint holds a normalization {kind} ({name!r}) and no {other}")
    if not found:
        return None
    constants = Constants(found["mean"][1], found["std"][1])
    if given is not None and in_units_of_255(constants) and _same(_scaled(constants), given):
        return given
    return sound(constants, "the checkpoint's normalization")


def said_in(entries: Mapping[str, Any]) -> Constants | None:
    """The constants that entries beside the parameters say, such as `{"mean": [0.5], "std": [0.5]}`.

    Sections that usually hold a normalization or a configuration are looked into, too.
    """
    for mean, std in _ENTRIES:
        values = _numbers(entries.get(mean)), _numbers(entries.get(std))
        if values[0] and values[1]:
            return Constants(values[0], values[1])
    inner = (entries.get(section) for section in _SECTIONS)
    found = (said_in(content) for content in inner if isinstance(content, Mapping))
    return next((constants for constants in found if constants is not None), None)


def sound(constants: Constants, what: str) -> Constants:
    """The constants, if a network can have them.

    Raises:
        Mismatch: they are not finite, a standard deviation is not above 0, or they are in units of 255.
    """
    mean, std = constants
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise Mismatch(f"{what} is impossible: mean {_listed(mean)}, std {_listed(std)}")
    if in_units_of_255(constants):
        numbers = [",".join(f"{value:.4g}" for value in values) for values in _scaled(constants)]
        raise Mismatch(
            f"{what}, mean {_listed(mean)} and std {_listed(std)}, is for pixels of 0 to 255, and here they lie in "
            f"[0, 1]: if that is meant, say mean {numbers[0]} and std {numbers[1]} ({_SAID_BY})"
        )
    return constants


def in_units_of_255(constants: Constants) -> bool:
    """Whether constants are too large for pixels in [0, 1]."""
    return max(*constants.mean, *constants.std) > 1


def settled(own: Constants | None, given: Constants | None, who: str) -> Constants | None:
    """By what images are normalized: what a checkpoint says, else what the caller says; `None` where neither does.

    Args:
        own: What the checkpoint says. In units of 255, the caller has to say the same in units of 1.
        given: By the caller.
        who: The checkpoint, for the error.

    Raises:
        Mismatch: they differ, or are impossible.
    """
    if given is not None:
        sound(given, "the normalization given")
    if own is None or (given is not None and in_units_of_255(own) and _same(_scaled(own), given)):
        return given
    sound(own, f"the normalization of {who}")
    if given is not None and not _same(own, given):
        raise Mismatch(
            f"{who} was trained with normalization mean {list(own.mean)} and std {list(own.std)}, not "
            f"{list(given.mean)} and {list(given.std)}: leave mean and std out ({_SAID_BY})"
        )
    _log.info("normalizing as %s says: mean %s, std %s", who, *map(list, own))
    return own


def _same(one: Constants, other: Constants) -> bool:
    return all(map(alike, one, other))


def _scaled(constants: Constants) -> Constants:
    return Constants(*(tuple(value / 255 for value in values) for values in constants))


def _values(tensor: Tensor) -> tuple[float, ...]:
    return tuple(tensor.detach().flatten().tolist())


def _numbers(value: Any) -> tuple[float, ...]:
    """A list of as many numbers as images have channels, or nothing."""
    values = value.detach().flatten().tolist() if isinstance(value, Tensor) else value
    if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= _MOST_CHANNELS:
        return ()
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return ()
    return tuple(map(float, values))


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"
