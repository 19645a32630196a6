"""Checkpoints of networks whose normalization layers have branches: which names are of which branch.

The names are those of timm's split batch norm: the main branch has the names of the plain network, so that everything
that knows no branches can take it.
"""

from seasoning.checkpoints.load import State


__all__ = ["AUXILIARY", "holds_branches", "main_branch"]

# What holds the auxiliary branches within a normalization layer, whatever its kind.
AUXILIARY = "aux_bn"


def holds_branches(state: State) -> bool:
    """Whether a checkpoint holds more than the main branch."""
    return any(_is_auxiliary(name) for name in state)


def main_branch(state: State) -> State:
    """The main branch of a checkpoint, under the names of the plain network."""
    return {name: state[name] for name in state if not _is_auxiliary(name)}


def _is_auxiliary(name: str) -> bool:
    return AUXILIARY in name.split(".")
