"""Where the parameters lie in the file of a training script, and what else is in it.

A file often holds several networks: the trained one and its moving average, student and teacher, or one twice. The
trained one is taken, not its average; `FILE:NAME` takes another; and what was taken is said.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seasoning.checkpoints.adapters import is_beside
from seasoning.checkpoints.constants import kind_of
from seasoning.checkpoints.pickles import Stub, module_state
from seasoning.errors import BadInput


__all__ = ["Found", "groups", "is_average", "parameters", "tidied"]

# Where training scripts put the trained parameters, and where they put moving averages of them.
_TRAINED = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "params", "network", "weights", "module"),
    *("net_state_dict", "network_state_dict", "student", "classifier"),
)
_AVERAGED = (
    *("ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema", "ema_model", "model_ema_state_dict"),
    *("averaged_model", "swa_model", "swa_state_dict", "teacher", "shadow"),
)
# Words in the names of moving averages.
_AVERAGE_WORDS = {"ema", "teacher", "averaged", "average", "avg", "swa", "momentum", "shadow", "polyak", "target"}
# Entries that hold tensors and no network.
_NO_NETWORK = re.compile(r"(?i).*(?:optim|sched|scaler|rng|random|criterion|loss|metric|callback|buffer|queue).*")
# What torch's averaged models keep beside the parameters.
_COUNTER = "n_averaged"
_DEPTH = 4  # of mappings in mappings
_FEWEST = 3  # tensors of a network that may be there twice
_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """Parameters of one network, and the other entries that were met on the way to them."""

    tensors: Mapping[str, Tensor]
    entries: Mapping[str, Any]
    part: str | None  # as asked for, if it has not been found yet
    other: str | None  # the entry of another network, if there is one


def parameters(content: Any, where: str, part: str | None) -> Found:
    """The mapping of tensors inside a checkpoint, looked for under the usual names.

    Args:
        content: Of the file.
        where: Its name, for what is said.
        part: The name of one of several networks, where the caller chose.

    Raises:
        BadInput: there is none, or there are several and none of a usual name.
    """
    entries: dict[str, Any] = {}
    other = None
    for _ in range(_DEPTH):
        module = module_state(content)
        content = content if module is None else module
        if not isinstance(content, Mapping):
            raise BadInput(f"{where} holds a {type(content).__name__}: expected a mapping from names to tensors")
        nest = _nest(content, where, part)
        if nest is None:
            break
        entries |= _entries({key: value for key, value in content.items() if not _holds(value)})
        part = None if nest == part else part
        other = next((key for key in _known(content) if key != nest), other)
        content = content[nest]
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BadInput(f"{where} holds {sorted(map(str, content))[:8]} and no parameters under {', '.join(_TRAINED)}")
    others = {key: value for key, value in content.items() if not isinstance(value, Tensor)}
    if others:
        _log.info("%s: leaving out %s beside the tensors", where, _some(list(map(str, others))))
    if _COUNTER in tensors and all(name.startswith("module.") for name in tensors if name != _COUNTER):
        _log.info("%s: an average of models, leaving %r out", where, _COUNTER)
        del tensors[_COUNTER]
    return Found(tensors, entries | _entries(others), part, other)


def tidied(state: Mapping[str, Tensor], where: str, part: str | None) -> list[str]:
    """The names of the tensors to take: all, or those of one network where the file holds it twice.

    Args:
        state: Names and tensors; values are read only of networks that are there twice.
        where: The file's name, for what is said.
        part: What the names of the wanted network begin with, where the caller chose.

    Raises:
        BadInput: no name begins so.
    """
    names = list(state)
    if part is not None:
        chosen = [name for name in names if name.startswith(f"{part}.")]
        if not chosen:
            raise BadInput(f"{where} has no part {part!r}: it holds {groups(names)}")
        return chosen
    first, *others = sorted(_copies(names), key=lambda prefix: (is_average(prefix), len(prefix))) or [""]
    if not others:
        return names
    layers = [name.removeprefix(first) for name in names if _is_layer(name) and _in_copy(name, first, others)]
    unlike = [
        other for other in others if not all(torch.equal(state[first + name], state[other + name]) for name in layers)
    ]
    if unlike and (is_average(first) or not all(map(is_average, unlike))):
        return names  # for all that is known, networks that belong together
    _log.info(
        "%s: the network is there %d times, taking %s, not %s",
        *(where, 1 + len(others), _called(first), ", ".join(map(_called, others))),
    )
    return [name for name in names if not name.startswith(tuple(_owner(other, first) for other in others))]


def groups(names: Sequence[str]) -> str:
    """What is in a file, in words: the first parts of the names with their numbers of tensors."""
    counts: dict[str, int] = {}
    for name in names:
        first = name.partition(".")[0]
        counts[first] = counts.get(first, 0) + 1
    listed = [f"{name!r} ({count})" if count > 1 else repr(name) for name, count in list(counts.items())[:8]]
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return f"{len(names)} tensors: {', '.join(listed)}{more}"


def _entries(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Entries by name, of objects their attributes; without those of optimizers and the like, which may be large."""
    kept = {str(key): value for key, value in content.items() if not _NO_NETWORK.match(str(key))}
    return {key: value.attributes if isinstance(value, Stub) else value for key, value in kept.items()}


def _nest(content: Mapping[Any, Any], where: str, part: str | None) -> str | None:
    """The entry that holds the network; `None` where its tensors lie here."""
    if part is not None and _holds(content.get(part)):
        _log.info("%s: taking the parameters from %r", where, part)
        return part
    known = _known(content)
    if known:
        rest = f", not from {', '.join(map(repr, known[1:]))}" if known[1:] else ""
        _log.info("%s: taking the parameters from %r%s", where, known[0], rest)
        return known[0]
    others = {key: value for key, value in content.items() if isinstance(key, str) and not _NO_NETWORK.match(key)}
    flat = [key for key, value in others.items() if isinstance(value, Tensor) and value.dim()]
    unknown = [key for key, value in others.items() if _holds(value)]
    # Parameters are tensors of modules; a tensor without one may be anything, such as weights of classes.
    if not unknown or any("." in key for key in flat):
        return None
    if len(unknown) > 1:
        raise BadInput(f"{where} holds several networks, {_some(unknown)}: say which, as in {where}:{unknown[0]}")
    _log.info("%s: taking the parameters from %r", where, unknown[0])
    return unknown[0]


def _known(content: Mapping[Any, Any]) -> list[str]:
    """Entries of usual names that hold a network, the trained ones first."""
    return [nest for nest in (*_TRAINED, *_AVERAGED) if _holds(content.get(nest))]


def _holds(value: Any, depth: int = _DEPTH) -> bool:
    """Whether an entry holds the tensors of a network, right there or in mappings in it."""
    module = module_state(value)
    content = value if module is None else module
    if not isinstance(content, Mapping) or depth == 0:
        return False
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if any(isinstance(value, Tensor) and value.dim() for value in named.values()):
        return True
    return any(_holds(value, depth - 1) for key, value in named.items() if not _NO_NETWORK.match(key))


def _copies(names: Sequence[str]) -> list[str]:
    """Prefixes under which all layers lie twice or more often; none where they do not."""
    layers = list(filter(_is_layer, names))
    under: dict[str, set[str]] = {}
    for name in layers:
        for prefix in _prefixes(name):
            under.setdefault(prefix, set()).add(name.removeprefix(prefix))
    alike: dict[frozenset[str], list[str]] = {}
    for prefix, rest in under.items():
        # Blocks of a network are numbered.
        if len(rest) < _FEWEST or 2 * len(rest) > len(layers) or prefix[:-1].rpartition(".")[2].isdigit():
            continue
        alike.setdefault(frozenset(rest), []).append(prefix)
        # One copy may have no prefix.
        if 2 * len(rest) == len(layers) and rest == {name for name in layers if not name.startswith(prefix)}:
            return ["", prefix]
    return next((same for rest, same in alike.items() if len(rest) * len(same) == len(layers) > len(rest)), [])


def _prefixes(name: str) -> Iterator[str]:
    return (name[: index + 1] for index, letter in enumerate(name) if letter == ".")


def _is_layer(name: str) -> bool:
    return kind_of(name) is None and not is_beside(name)


def _in_copy(name: str, prefix: str, others: Sequence[str]) -> bool:
    return name.startswith(prefix) if prefix else not name.startswith(tuple(others))


def _owner(prefix: str, kept: str) -> str:
    """The outermost module of a copy that the copy to keep is not in: its constants are the copy's, too."""
    return next(shorter for shorter in _prefixes(prefix) if not kept.startswith(shorter))


def is_average(prefix: str) -> bool:
    """Whether a name is that of a moving average of a network, or of a tensor of one."""
    return not _AVERAGE_WORDS.isdisjoint(re.split(r"[._]", prefix.lower()))


def _called(prefix: str) -> str:
    return repr(prefix.rstrip(".")) if prefix else "the one without a prefix"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
