"""Attacks on the network that is being trained: AutoPGD to the point of highest loss, and nothing left behind.

An attack takes gradients with respect to the images alone; those of the parameters are neither computed nor touched.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from seasoning.attacks import AttackResult, apgd, evaluation_mode
from seasoning.errors import BadInput, UnknownName
from seasoning.losses import cross_entropy
from seasoning.noise import USES, row_noise, use_seed
from seasoning.threat import Threat


__all__ = [
    "BATCH_NORMS",
    "TrainingAttack",
    "attack_batch",
    "attack_mode",
    "attack_to_random_classes",
    "random_wrong_classes",
    "require_steps",
    "unwrapped",
]

BATCH_NORMS = ("evaluation", "training")
_FOR_ALL: Mapping[str, int] = {}


class TrainingAttack(NamedTuple):
    """How images are attacked in training.

    Args:
        steps: Gradients of an attack; the paper takes 10 on CIFAR-10.
        loss: What the attack raises: `"ce"`, or `"kl"` to the prediction at the clean image.
        batch_norm: Whether layers that know two modes climb in that of `"evaluation"`, with running statistics, or of
            `"training"`, with those of the batch; running statistics stay as they are in both.
        steps_by_norm: Gradients of attacks in some norms instead, such as `{"l1": 20}`, the hardest one to climb in.
    """

    steps: int = 10
    loss: Literal["ce", "kl"] = "ce"
    batch_norm: Literal["evaluation", "training"] = "evaluation"
    steps_by_norm: Mapping[str, int] = _FOR_ALL

    def steps_for(self, threat: Threat) -> int:
        """Gradients of an attack within a threat."""
        return self.steps_by_norm.get(threat.norm, self.steps)


def attack_batch(
    model: nn.Module, x: Tensor, y: Tensor, threat: Threat, attack: TrainingAttack, seed: int
) -> AttackResult:
    """The images of highest loss that AutoPGD finds within a threat.

    It takes as many forward and backward passes as steps, and one forward pass more.
    """
    model = unwrapped(model)
    with attack_mode(model, attack.batch_norm):
        steps = attack.steps_for(threat)
        return apgd(model, x, y, threat, loss=attack.loss, steps=steps, best_loss=True, seed=seed)


def attack_to_random_classes(
    model: nn.Module, x: Tensor, labels: Tensor, threat: Threat, attack: TrainingAttack, seed: int
) -> Tensor:
    """The images within a threat that AutoPGD finds closest, by cross-entropy, to a random wrong class of each.

    Args:
        model: Images in [0, 1] to logits.
        x: Images, `(B, C, H, W)`.
        labels: One number for each class, `(B, K)`, as `random_wrong_classes` takes them.
        threat: Norm and radius.
        attack: Its steps, and the mode of batch norm.
        seed: Seed of the classes and of the random starts.

    Source: Xie et al. 2020, *Adversarial examples improve image recognition*, section 5.1: random targets.
    """
    model, targets = unwrapped(model), random_wrong_classes(labels, use_seed(seed, USES["targets"]))
    with attack_mode(model, attack.batch_norm):
        steps = attack.steps_for(threat)
        return apgd(model, x, targets, threat, loss=_nearness, steps=steps, best_loss=True, seed=seed).x_adv


def random_wrong_classes(labels: Tensor, seed: int) -> Tensor:
    """A class for each image, `(B,)`, uniform over those that are wrong.

    Args:
        labels: One number for each class, `(B, K)`; wrong are the classes of the lowest number, so of mixed images
            those of neither, whether labels are smoothed or not.
        seed: Seed of the classes, row by row.

    Raises:
        BadInput: there is a single class.
    """
    if labels.shape[1] < 2:
        raise BadInput("an attack to a wrong class where there is one class: give images of at least two")
    wrong = labels <= labels.amin(1, keepdim=True)
    noise = row_noise(
        range(len(labels)),
        (labels.shape[1],),
        kind="uniform",
        seed=seed,
        dtype=labels.dtype,
        device=labels.device,
    )
    return noise.masked_fill(~wrong, -torch.inf).argmax(1)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, whose passes no other process of the training waits for."""
    bare: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
    return bare


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
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    try:
        for layer in layers:
            # So a layer in training mode uses the batch's statistics and updates none.
            layer.track_running_stats = False
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def _nearness(logits: Tensor, targets: Tensor) -> Tensor:
    return -cross_entropy(logits, targets)


def require_steps(attack: TrainingAttack) -> None:
    """Refuse an attack of no steps: training would silently be nominal.

    Raises:
        BadInput: it has none.
    """
    least = min((attack.steps, *attack.steps_by_norm.values()))
    if least < 1:
        raise BadInput(f"an attack of {least} steps: give at least 1, or train nominally by name")
