"""The training loop, on accelerate: one objective for each epoch, the best checkpoint by validation, resumable.

Whatever is drawn in a step derives from `(seed, epoch, step)` and the place of an image in the batch alone, and what is
carried from step to step is in the state: a training that was cut off anywhere ends with the same bits as one that was
not. Several processes take a batch together as one would, see `distributed`.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from seasoning.data.photographs import Photographs
from seasoning.data.samples import Samples
from seasoning.errors import BadInput, SeasoningError, Stopped
from seasoning.models import PixelClassifier
from seasoning.noise import epoch_seed
from seasoning.training.accelerator import accelerator_for, prepared, seeded, tracked
from seasoning.training.distributed import any_of, require_same, surviving
from seasoning.training.feed import Part, feed
from seasoning.training.memory import fits
from seasoning.training.objectives import OneOf, TrainingObjective
from seasoning.training.optimization import (
    Settings,
    batch_sizes,
    make_optimizer,
    rate_fraction,
    require_images,
    require_parts,
    set_options,
)
from seasoning.training.passes import Passes
from seasoning.training.progress import Clock, TrainingProgress
from seasoning.training.resume import read_state, write_state
from seasoning.training.validation import Scores


__all__ = ["Trained", "train"]

_STEP_SEEDS = (1 << 62) - 1

State = dict[str, Tensor]


class Trained(NamedTuple):
    """What a training came to.

    Args:
        state: Parameters of the best validation score: raw or averaged, as the settings say.
        epoch: Their epoch, from 0.
        scores: Of all epochs.
        last: Such parameters of the last epoch.
        other: The others of the last epoch, raw or averaged; `None` where there is no average.
    """

    state: State
    epoch: int
    scores: list[Scores]
    last: State
    other: State | None = None


def train(
    model: PixelClassifier,
    samples: Samples | Photographs,
    objectives: Sequence[TrainingObjective],
    validate: Callable[[nn.Module], Scores],
    settings: Settings,
    *,
    seed: int = 0,
    resume: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    accept_changes: bool = False,
    fixed: Sequence[str] = (),
    save_seconds: float = math.inf,
    stop: Callable[[], bool] = lambda: False,
    on_start: Callable[[], None] = lambda: None,
    on_step: Callable[[TrainingProgress], None] = lambda report: None,
    on_epoch: Callable[[int, Scores], None] = lambda epoch, scores: None,
    on_best: Callable[[State, int], None] = lambda state, epoch: None,
    device: str | None = None,
    trackers: Sequence[str] = (),
    logs: Path | None = None,
) -> Trained:
    """Train and return the checkpoint that validates best.

    Args:
        model: Its network is trained, in place.
        samples: Training images, in memory or on a disk.
        objectives: One for each epoch.
        validate: Scores of a model, asked after each epoch; the higher the better, later epochs win ties.
        settings: The optimizer, batches, rates and what goes with them.
        seed: Seed of orders, crops and attacks.
        resume: Where the state is kept; if it is there, training goes on from it.
        identity: What the state belongs to; one of another identity is refused.
        accept_changes: Go on with it all the same.
        fixed: What of the identity must not have changed even so, since the scores rest on it; names with dots.
        save_seconds: The state is written after each epoch, and within one when so long has passed.
        stop: Asked after each step and validation; when it says so, the state is written and training ends.
        on_start: Told when nothing stands in the way, a state that is there included.
        on_step: Told where the training is.
        on_epoch: Told each epoch (from 0) and its scores, those before a resume included.
        on_best: Told the parameters of each best epoch so far, and the epoch (from 0).
        device: `"cpu"` stays there; by default accelerate chooses.
        trackers: Names of accelerate's experiment trackers.
        logs: The folder that trackers may write to.

    Raises:
        SeasoningError: the loss or the gradient became NaN or infinite, or another process of the training ended; the
            last saved state is kept.
        Stopped: it was asked to stop.
        BadInput: no epochs, a batch that its parts do not divide or that is larger than the data set or the memory, a
            state that is damaged, belongs to another training, or is further than the epochs asked for, or processes
            that are not at the same training.
    """
    if not objectives:
        raise BadInput("no objectives: give one for each epoch")
    require_images(settings, len(samples))
    accelerator = accelerator_for(settings.precision, device, trackers, logs)
    require_parts(settings, accelerator.num_processes)
    run = _Run(model, samples, objectives, settings, seed, accelerator, resume, dict(identity or {}))
    together = surviving(accelerator.num_processes, run.kept)
    with tracked(accelerator, trackers), seeded(accelerator.device, seed), together:
        run.restore(accept_changes, fixed)
        on_start()
        for epoch, scores in enumerate(run.progress.scores):
            on_epoch(epoch, scores)
        while run.progress.epoch < len(objectives):
            for _ in run.steps():
                on_step(run.report())
                run.save_if_due(save_seconds)
                run.stop_if(stop)
            scores = run.validate(validate, on_best)
            on_epoch(run.progress.epoch - 1, scores)
            run.stop_if(stop)
    return run.finished()


@dataclass(slots=True)
class _Progress:
    """How far a training is; with the tensors it is the state."""

    epoch: int = 0
    step: int = 0  # in the epoch
    lost: float = 0.0  # sums over the epoch so far
    right: float = 0.0
    seen: int = 0
    scores: list[Scores] = field(default_factory=list)
    best_epoch: int = 0
    objective: dict[str, float] = field(default_factory=dict)


class _Run:
    """One training: network, optimizer, average, progress, and where its state is kept."""

    def __init__(
        self,
        model: PixelClassifier,
        samples: Samples | Photographs,
        objectives: Sequence[TrainingObjective],
        settings: Settings,
        seed: int,
        accelerator: Accelerator,
        path: Path | None,
        identity: dict[str, Any],
    ) -> None:
        self._samples, self._objectives, self._settings, self._seed = samples, objectives, settings, seed
        self._accelerator, self._path, self._identity = accelerator, path, identity
        self._plain, self._network = model.to(accelerator.device), model.network
        self._average = None if settings.ema is None else ModelEmaV3(model.network, decay=settings.ema)
        self._model = prepared(accelerator, model)
        self._passes = Passes(accelerator, self._model, samples, settings)
        self._optimizer = accelerator.prepare_optimizer(make_optimizer(self._network, settings))
        self._best: State = {}
        self._sizes = batch_sizes(len(samples), settings.batch_size)
        self._per_epoch = len(self._sizes)
        self.progress = _Progress()
        self._saved = time.monotonic()
        self._kept_at: tuple[int, int] | None = None  # epoch and step of the state on the disk
        self._clock = Clock()

    def restore(self, accept_changes: bool, fixed: Sequence[str]) -> None:
        """Take over the state that is kept, if there is one."""
        content: dict[str, Any] = {}
        if self._path is not None and self._path.exists():
            content = read_state(self._path, self._identity, accept_changes=accept_changes, fixed=fixed)
        at = {name: content.get("progress", {}).get(name) for name in ("epoch", "step")}
        require_same(self._accelerator, {**self._identity, "state": at})
        if not content:
            return
        progress, asked = content["progress"], len(self._objectives)
        if (begun := progress["epoch"] + (progress["step"] > 0)) > asked:
            raise BadInput(
                f"{self._path} is in epoch {begun} and {asked} are asked for: ask for at least {begun}, or start in "
                "another folder"
            )
        try:
            kept, own = (
                each["param_groups"][0].keys() for each in (content["optimizer"], self._optimizer.state_dict())
            )
            if kept != own:
                raise ValueError(f"it has no {min(own - kept, default=min(kept ^ own))}")
            self._network.load_state_dict(content["network"])
            self._optimizer.load_state_dict(content["optimizer"])
            if self._average is not None:
                self._average.module.load_state_dict(content["average"] or content["network"])
            # Its settings may have changed since, and loading put the old ones back.
            set_options(self._optimizer, make_optimizer(self._network, self._settings))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(":")  # torch goes on with every name
            raise BadInput(
                f"{self._path} is of another network or optimizer ({reason}): start in another folder"
            ) from error
        scores = [Scores(*each) for each in progress.pop("scores")]
        self.progress, self._best = _Progress(**progress, scores=scores), content["best"]
        self._kept_at = self.progress.epoch, self.progress.step

    def save(self) -> None:
        """Write the state, where there is a place for it; of several processes the first does."""
        self._saved = time.monotonic()
        if self._path is None or not self._accelerator.is_main_process:
            return
        progress = {name: getattr(self.progress, name) for name in _Progress.__slots__}
        progress["scores"] = [tuple(each) for each in self.progress.scores]
        content = {
            "identity": self._identity,
            "progress": progress,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": None if self._average is None else self._average.module.state_dict(),
            "best": self._best,
        }
        write_state(self._path, content)
        self._kept_at = self.progress.epoch, self.progress.step

    def save_if_due(self, seconds: float) -> None:
        """Write the state if it is so old."""
        if time.monotonic() - self._saved >= seconds:
            self.save()

    def stop_if(self, stop: Callable[[], bool]) -> None:
        """Write the state and end, if this or another process was asked to."""
        if any_of(self._accelerator, stop()):
            self.save()
            raise Stopped(f"stopped in epoch {min(self.progress.epoch + 1, len(self._objectives))}: {self.kept()}")

    def steps(self) -> Iterator[None]:
        """Take the steps that the epoch lacks, one at a time."""
        progress = self.progress
        drawn_from = epoch_seed(self._seed, progress.epoch)
        generator = torch.Generator().manual_seed(drawn_from)
        batches = torch.randperm(len(self._samples), generator=generator).split(self._sizes)
        seeds = [int(torch.randint(_STEP_SEEDS, (1,), generator=generator)) for _ in batches]
        steps = list(map(self._passes.parts, batches, seeds))[progress.step :]
        pinned = self._accelerator.device.type == "cuda"
        images = feed(
            self._samples, [part for parts in steps for part in parts], self._settings, drawn_from, pinned=pinned
        )
        self._model.train()
        for number, parts in enumerate(steps, progress.step):
            begun = time.monotonic()
            objective = self._objectives[progress.epoch]
            if isinstance(objective, OneOf):
                objective = objective.draw(seeds[number], progress.objective)  # once, for all parts
            self._step(number, len(batches[number]), objective, parts, images)
            self._clock.stepped(time.monotonic() - begun, len(batches[number]))
            yield

    def _step(
        self, number: int, size: int, objective: TrainingObjective, parts: Sequence[Part], images: Iterator[Tensor]
    ) -> None:
        settings, progress = self._settings, self.progress
        fraction = rate_fraction(
            settings, progress.epoch * self._per_epoch + number, self._per_epoch, len(self._objectives)
        )
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate * fraction
        self._optimizer.zero_grad(set_to_none=True)
        lost, right, progress.objective = self._passes.take(objective, parts, images, progress.objective)
        self._require_finite("loss", lost, number)
        # One norm for all parameters; without a limit it is only looked at.
        length = nn.utils.clip_grad_norm_(self._network.parameters(), settings.clip or math.inf)
        self._require_finite("gradient", float(length), number)
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._network)
        progress.step, progress.seen = number + 1, progress.seen + size
        progress.lost, progress.right = progress.lost + lost, progress.right + right
        values = {
            "train/loss": lost / size,
            "train/right": right / size,
            "train/rate": settings.rate * fraction,
        }
        self._log(values)

    def validate(self, validate: Callable[[nn.Module], Scores], on_best: Callable[[State, int], None]) -> Scores:
        """Score the epoch that ends, and keep its parameters if none before were better; the state is written twice."""
        # An epoch may be hours: whatever happens to its validation, its steps are kept.
        self.save()
        begun, progress = time.monotonic(), self.progress
        self._model.eval()
        with self._measured() as measured, fits(self._settings, self._accelerator.device):
            scores = validate(measured)
            # Later epochs win ties: they have seen more of the schedule.
            if not progress.scores or scores.chosen >= max(each.chosen for each in progress.scores):
                self._best, progress.best_epoch = _copied(measured.network), progress.epoch
                on_best(self._best, progress.epoch)
        progress.scores.append(scores)
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.lost, progress.right, progress.seen = 0.0, 0.0, 0
        self._clock.validated(time.monotonic() - begun)
        self._log({f"validation/{name}": value for name, value in scores._asdict().items() if value is not None})
        self.save()
        return scores

    @contextmanager
    def _measured(self) -> Iterator[PixelClassifier]:
        """The classifier that is validated and returned, in full precision."""
        raw = self._network
        try:
            if self._average is not None and self._settings.ingredient == "ema":
                self._plain.network = self._average.module
            yield self._plain
        finally:
            self._plain.network = raw

    def report(self) -> TrainingProgress:
        """Where the training is."""
        progress, epochs = self.progress, len(self._objectives)
        taken = progress.epoch * self._per_epoch + progress.step
        return TrainingProgress(
            epoch=progress.epoch,
            epochs=epochs,
            fraction=taken / (epochs * self._per_epoch),
            loss=progress.lost / progress.seen,
            right=progress.right / progress.seen,
            speed=self._clock.speed(),
            left=self._clock.left(epochs * self._per_epoch - taken, epochs - progress.epoch),
            scores=progress.scores[-1] if progress.scores else None,
        )

    def finished(self) -> Trained:
        """What the training came to."""
        kept = {"raw": self._network} | ({} if self._average is None else {"ema": self._average.module})
        last = _copied(kept.pop(self._settings.ingredient))
        others = [_copied(network) for network in kept.values()]
        return Trained(self._best, self.progress.best_epoch, self.progress.scores, last, *others)

    def _log(self, values: Mapping[str, float]) -> None:
        if self._accelerator.trackers:
            progress = self.progress
            self._accelerator.log(dict(values), step=progress.epoch * self._per_epoch + progress.step)

    def kept(self) -> str:
        """What is on the disk, in words."""
        if self._path is None:
            return "no state is kept"
        if not self._accelerator.is_main_process:  # which alone knows what it wrote
            return f"{self._path} holds the last saved state, if there is one"
        if self._kept_at is None:
            return f"there is no state in {self._path} yet"
        return f"{self._path} holds the last saved state, epoch {self._kept_at[0] + 1}, step {self._kept_at[1]}"

    def _require_finite(self, what: str, value: float, number: int) -> None:
        if not math.isfinite(value):
            raise SeasoningError(
                f"the {what} became {value} in epoch {self.progress.epoch + 1}, step {number + 1}: "
                f"lower the learning rate or the radius of the threat; {self.kept()}"
            )


def _copied(network: nn.Module) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
