"""Several attacks as one: each only on the samples that the ones before it left standing."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from seasoning.attacks.base import Attack, AttackResult, Classifier
from seasoning.attacks.checks import check_batch, evaluation_mode
from seasoning.attacks.outputs import checked_logits
from seasoning.errors import BadInput
from seasoning.threat import Threat


__all__ = ["members", "strongest"]


def strongest(*attacks: Attack) -> partial[AttackResult]:
    """The worst case over attacks: the next one only sees the samples still standing.

    The model is checked once, before the first. Loss, and where nothing was found the rest of the result, are those of
    the last attack that a sample met; gradients and forward passes add up.

    Args:
        attacks: Configured attacks, such as `partial(apgd, loss="dlr")`; cheap ones first.

    Raises:
        BadInput: no attack is given.
    """
    if not attacks:
        raise BadInput("strongest() of no attacks: give at least one")
    return partial(_strongest, attacks=tuple(member for attack in attacks for member in members(attack)))


def members(attack: Attack) -> tuple[partial[AttackResult], ...]:
    """The attacks that one made by `strongest` consists of; any other one alone."""
    if isinstance(attack, partial) and attack.func is _strongest:
        return tuple(attack.keywords["attacks"])
    return (attack if isinstance(attack, partial) else partial(attack),)


def _strongest(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    attacks: tuple[Attack, ...],
    ids: Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    clean: Tensor | None = None,
) -> AttackResult:
    if y.dim() != 1:
        raise BadInput("soft labels (B, K) serve training only: give classes (B,)")
    size = len(x) if batch_size is None else batch_size
    check_batch(x, y, ids, size)
    forwards = torch.zeros_like(y)
    ids = torch.arange(len(x)) if ids is None else ids
    with evaluation_mode(model):
        if clean is None:
            clean = checked_logits(model, x, y, size, probe=True)
            forwards += 1
        standing = clean.argmax(1) == y
        found = AttackResult(
            x_adv=x.clone(),
            fooled=~standing,
            loss=x.new_full((len(x),), -torch.inf),
            distance=x.new_zeros(len(x)),
            gradients=torch.zeros_like(y),
            forwards=forwards,
        )
        for attack in attacks:
            rows = (~found.fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            circumstances: dict[str, Any] = {"ids": ids[rows.to(ids.device)], "seed": seed, "batch_size": batch_size}
            result = attack(model, x[rows], y[rows], threat, clean=clean[rows], **circumstances)
            for column, part in zip(found[:4], result[:4], strict=True):
                column[rows] = part.to(column.dtype)
            found.gradients[rows] += result.gradients
            found.forwards[rows] += result.forwards
    return found
