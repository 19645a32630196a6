"""The training loop: one objective for each epoch, the best checkpoint by a validation score, resumable by epochs."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seasoning.data.samples import Samples
from seasoning.errors import BadInput, SeasoningError
from seasoning.files import replacing
from seasoning.training.objectives import Objective


__all__ = ["Trained", "cosine_rate", "train"]

_MOMENTUM = 0.9
_CLIP = 1.0
_LARGEST_SEED = (1 << 62) - 1


class Trained(NamedTuple):
    """The checkpoint of the best validation score, its epoch (from 0), and the scores of all epochs."""

    state: dict[str, Tensor]
    epoch: int
    scores: list[float]


def cosine_rate(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: a linear ramp over the first part, then half a cosine to zero.

    Args:
        step: Steps taken, from 0.
        steps: Steps in all.
        warmup: Share of the steps that the ramp takes.

    Source: Loshchilov & Hutter 2017, *SGDR*; Croce et al. 2023, appendix B.1, for the ramp over a tenth.
    """
    ramp = warmup * steps
    if step < ramp:
        return (step + 1) / (ramp + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(steps - ramp, 1)))


def train(
    network: nn.Module,
    model: nn.Module,
    samples: Samples,
    objectives: Sequence[Objective],
    validate: Callable[[nn.Module], float],
    *,
    rate: float,
    batch_size: int = 64,
    warmup: float = 0.1,
    weight_decay: float = 5e-4,
    seed: int = 0,
    resume: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, score: None,
) -> Trained:
    """Train by SGD with momentum and return the checkpoint that validates best.

    Every epoch draws its order and its attacks from `(seed, epoch)` alone, so a run that was cut off and resumed
    gives the same parameters as one that was not.

    Args:
        network: The part of `model` whose parameters are trained and returned; changed in place.
        model: Images in [0, 1] to logits.
        samples: Training images.
        objectives: One for each epoch.
        validate: Score of a model on validation images, the higher the better; asked after each epoch.
        rate: Peak learning rate.
        batch_size: Images in a step.
        warmup: Share of the steps over which the learning rate rises.
        weight_decay: Added to the gradient, times the parameters.
        seed: Seed of orders and attacks.
        resume: Where the state is kept after each epoch; if it is there, training goes on from it.
        identity: What the state belongs to; one of another identity is refused.
        on_epoch: Told each epoch (from 0) and its score, those trained before a resume included.

    Raises:
        SeasoningError: the loss became NaN or infinite; the last good state is kept.
        BadInput: no epochs, or the state is damaged or belongs to another training.
    """
    if not objectives:
        raise BadInput("no objectives: give one for each epoch")
    optimizer = torch.optim.SGD(
        network.parameters(), lr=rate, momentum=_MOMENTUM, weight_decay=weight_decay, nesterov=True
    )
    progress: dict[str, Any] = {"identity": dict(identity or {}), "epoch": 0, "scores": [], "best": {}, "best_epoch": 0}
    if resume is not None and resume.exists():
        progress = _restore(resume, network, optimizer, progress["identity"])
    for epoch, score in enumerate(progress["scores"]):
        on_epoch(epoch, score)
    per_epoch = math.ceil(len(samples) / batch_size)
    for epoch in range(progress["epoch"], len(objectives)):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % _LARGEST_SEED)
        batches = torch.randperm(len(samples), generator=generator).split(batch_size)
        model.train()
        for number, rows in enumerate(batches):
            share = cosine_rate(epoch * per_epoch + number, len(objectives) * per_epoch, warmup)
            attack_seed = int(torch.randint(_LARGEST_SEED, (1,), generator=generator))
            loss = objectives[epoch](model, samples.images(rows), samples.y[rows], attack_seed)
            if not bool(torch.isfinite(loss)):
                raise SeasoningError(
                    f"the loss became {loss.item()} in epoch {epoch + 1}, step {number + 1}: "
                    "lower the learning rate or the radius of the threat"
                )
            _step(optimizer, loss, rate * share)
        model.eval()
        score = validate(model)
        # Later epochs win ties: they have seen more of the schedule.
        if not progress["scores"] or score >= max(progress["scores"]):
            state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
            progress |= {"best": state, "best_epoch": epoch}
        progress |= {"epoch": epoch + 1, "scores": [*progress["scores"], score]}
        if resume is not None:
            _keep(resume, progress | {"network": network.state_dict(), "optimizer": optimizer.state_dict()})
        on_epoch(epoch, score)
    return Trained(progress["best"], progress["best_epoch"], progress["scores"])


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One update along the clipped gradient of the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = rate
        nn.utils.clip_grad_norm_(group["params"], _CLIP)
    optimizer.step()


def _keep(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        torch.save(dict(content), temporary)


def _restore(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, identity: object) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        # What damaged bytes make of torch's reader is not to be foretold.
        raise BadInput(f"{path} is damaged ({error}): remove it, and this training starts again") from error
    if content["identity"] != identity:
        raise BadInput(f"{path} belongs to a training with {content['identity']}, not {identity}: remove it first")
    network.load_state_dict(content.pop("network"))
    optimizer.load_state_dict(content.pop("optimizer"))
    return content
