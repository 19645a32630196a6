"""How a batch goes through a model: in parts one after the other, and of several processes each takes a share."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from accelerate import Accelerator
from torch import Tensor, nn

from seasoning.data.photographs import Photographs
from seasoning.data.samples import Samples
from seasoning.noise import USES, derived_seed, use_seed
from seasoning.training.accelerator import seed_layers
from seasoning.training.augment import mixed, soft_labels
from seasoning.training.distributed import added, average_statistics, share_of, summed
from seasoning.training.feed import Part
from seasoning.training.memory import fits
from seasoning.training.objectives import BatchLoss, TrainingObjective
from seasoning.training.optimization import Settings, batch_sizes


__all__ = ["Passes", "Taken"]


class Taken(NamedTuple):
    """What a batch came to, over all processes: the sums of its losses and of its right images, and what is carried."""

    lost: float
    right: float
    carried: dict[str, float]


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes of a training.

    Args:
        accelerator: With the processes that take a batch together.
        model: As accelerate prepared it.
        samples: What batches are of.
        settings: Parts, mixtures and what goes with them.
    """

    accelerator: Accelerator
    model: nn.Module
    samples: Samples | Photographs
    settings: Settings

    def parts(self, rows: Tensor, seed: int) -> list[Part]:
        """The parts of a batch that this process takes, each with the seed and the weight of its images.

        What is drawn for a row of the batch is the same whatever part it is in, see `seasoning.noise`.
        """
        share = share_of(rows, self.accelerator.process_index, self.accelerator.num_processes)
        size, first, parts = len(share.rows), share.first, []
        for part in share.rows.split(batch_sizes(size, math.ceil(size / self.settings.accumulate))):
            parts.append(Part(part, derived_seed(seed, first), share.weight * len(part) / size))
            first += len(part)
        return parts

    def take(
        self,
        objective: TrainingObjective,
        parts: Sequence[Part],
        images: Iterator[Tensor],
        carried: Mapping[str, float],
    ) -> Taken:
        """Leave the gradient of a batch in the parameters, and the statistics of all its images in the model.

        Args:
            objective: What the batch is trained on.
            parts: As `parts` gives them.
            images: Those of the parts, one part after the other.
            carried: What the objective carried up to the batch.
        """
        accelerator, lost, right, state = self.accelerator, 0.0, 0.0, carried
        for index, part in enumerate(parts):
            # Processes tell each other their gradients once, with those of their last parts.
            alone = accelerator.no_sync(self.model) if index + 1 < len(parts) else nullcontext()
            with fits(self.settings, accelerator.device), alone:
                found = self._loss(objective, next(images), part, state)
                accelerator.backward(found.loss * part.weight)
            if part.weight:
                lost, right = lost + float(found.loss.detach()) * len(part.rows), right + int(found.right.sum())
                state = found.state
        average_statistics(accelerator, self.model, sum(part.weight for part in parts))
        sums = summed(accelerator, {"lost": lost, "right": right})
        return Taken(sums["lost"], sums["right"], added(accelerator, carried, state))

    def _loss(self, objective: TrainingObjective, x: Tensor, part: Part, state: Mapping[str, float]) -> BatchLoss:
        device, mixture = self.accelerator.device, self.settings.mixture
        x, y = x.to(device, non_blocking=True), self.samples.y[part.rows].to(device, non_blocking=True)
        if any(mixture):
            labels = soft_labels(y, self.samples.classes, mixture.smoothing, x.dtype)
            x, y = mixed(x, labels, mixture, use_seed(part.seed, USES["mixtures"]))
        seed_layers(device, use_seed(part.seed, USES["layers"]))
        return objective(self.model, x, y, seed=part.seed, state=state)
