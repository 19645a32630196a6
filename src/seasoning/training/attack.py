"""Attacks on the network that is being trained: AutoPGD to the point of highest loss, and nothing left behind.

An attack takes gradients with respect to the images alone; those of the parameters are neither computed nor touched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seasoning.attacks import AttackResult, apgd, evaluation_mode
from seasoning.errors import BadInput, UnknownName
from seasoning.threat import Threat


__all__ = ["BATCH_NORMS", "TrainingAttack", "attack_batch", "attack_mode", "require_steps"]

BATCH_NORMS = ("evaluation", "training")


class TrainingAttack(NamedTuple):
    """How images are attacked in training.

    Args:
        steps: Gradients of an attack; the paper takes 10 on CIFAR-10.
        loss: What the attack raises: `"ce"`, or `"kl"` to the prediction at the clean image.
        batch_norm: Whether layers that know two modes climb in that of `"evaluation"`, with running statistics, or of
            `"training"`, with those of the batch; running statistics stay as they are in both.
    """

    steps: int = 10
    loss: Literal["ce", "kl"] = "ce"
    batch_norm: Literal["evaluation", "training"] = "evaluation"


def attack_batch(
    model: nn.Module, x: Tensor, y: Tensor, threat: Threat, attack: TrainingAttack, seed: int
) -> AttackResult:
    """The images of highest loss that AutoPGD finds within a threat.

    It takes as many forward and backward passes as steps, and one forward pass more.
    """
    with attack_mode(model, attack.batch_norm):
        return apgd(model, x, y, threat, loss=attack.loss, steps=attack.steps, best_loss=True, seed=seed)


@contextmanager
def attack_mode(model: nn.Module, batch_norm: str) -> Iterator[None]:
    """The mode in which a network is attacked; the modes it had are restored.

    Raises:
        UnknownName: no such mode.
    """
    if batch_norm not in BATCH_NORMS:
        raise UnknownName("mode of batch norm", batch_norm, BATCH_NORMS)
    if batch_norm == "evaluation":
        with evaluation_mode(model):
            yield
        return
    layers = [each for each in model.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    try:
        for layer in layers:
            # So a layer in training mode uses the batch's statistics and updates none.
            layer.track_running_stats = False
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def require_steps(attack: TrainingAttack) -> None:
    """Refuse an attack of no steps: training would silently be nominal.

    Raises:
        BadInput: it has none.
    """
    if attack.steps < 1:
        raise BadInput(f"an attack of {attack.steps} steps: give at least 1, or train nominally by name")
