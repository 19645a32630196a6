"""The state of a training on disk: everything that a resumed one needs to end with the same bits."""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from seasoning.atomic import replacing
from seasoning.errors import BadInput, differences


__all__ = ["read_state", "write_state"]

_LAYOUT = 2


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write a state, completely or not at all."""
    with replacing(path) as temporary:
        torch.save({"layout": _LAYOUT, **content}, temporary)


def read_state(
    path: Path, identity: Mapping[str, Any], *, accept_changes: bool, fixed: Sequence[str] = ()
) -> dict[str, Any]:
    """The state of a training that was cut off.

    Args:
        path: Where it lies.
        identity: What the training that goes on with it is.
        accept_changes: Whether it may be another one than the state was written by.
        fixed: What of the identity must be the same all the same, such as `"settings.threats"`.

    Raises:
        BadInput: it is damaged, of another version, or belongs to another training.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        there, layout = content["identity"], content.pop("layout", None)
    except Exception as error:
        # What damaged bytes make of torch's reader is not to be foretold.
        reason = str(error).split(". ")[0]
        raise BadInput(f"{path} is damaged ({reason}): remove it, and this training starts again") from error
    if layout != _LAYOUT:
        raise BadInput(f"{path} was written by another version of seasoning: remove it, and this training starts again")
    changed = differences({name: _at(there, name) for name in fixed}, {name: _at(identity, name) for name in fixed})
    if accept_changes and changed:
        raise BadInput(
            f"{path} has scores and a best checkpoint that what has changed would make another thing ({changed}): give "
            "the same again, or start in another folder; --accept-changes does not cover this"
        )
    if there != dict(identity) and not accept_changes:
        raise BadInput(
            f"{path} belongs to another training ({differences(there, identity)}): give the same again, accept the "
            "changes (--accept-changes), or choose another folder"
        )
    return content


def _at(identity: Mapping[str, Any], name: str) -> Any:
    """What an identity says under a name with dots; `None` where it says nothing."""

    def below(section: Any, key: str) -> Any:
        return section.get(key) if isinstance(section, Mapping) else None

    return reduce(below, name.split("."), identity)
