"""Where a training is, and how long the rest of it takes."""

from typing import NamedTuple

from seasoning.training.validation import Scores


__all__ = ["Clock", "TrainingProgress"]


class TrainingProgress(NamedTuple):
    """Where a training is, after a step.

    Args:
        epoch: From 0.
        epochs: In all.
        fraction: Of all steps, those taken.
        loss: Mean over the epoch so far.
        right: Share of the images trained on, as attacked, that were classified correctly in the epoch so far.
        speed: Images a second in this process, training steps only.
        left: Seconds left, validations included.
        scores: Of the last validation.
    """

    epoch: int
    epochs: int
    fraction: float
    loss: float
    right: float
    speed: float
    left: float
    scores: Scores | None


class Clock:
    """Seconds that steps and validations took in this process."""

    def __init__(self) -> None:
        self._steps = self._seconds = self._images = self._validations = self._validating = 0.0

    def stepped(self, seconds: float, images: int) -> None:
        """A step took so long."""
        self._steps, self._seconds, self._images = self._steps + 1, self._seconds + seconds, self._images + images

    def validated(self, seconds: float) -> None:
        """A validation took so long."""
        self._validations, self._validating = self._validations + 1, self._validating + seconds

    def speed(self) -> float:
        """Images a second, steps only."""
        return self._images / max(self._seconds, 1e-9)

    def left(self, steps: int, validations: int) -> float:
        """Seconds that so many more of both will take."""
        each = self._validating / self._validations if self._validations else 0.0
        return steps * self._seconds / max(self._steps, 1) + validations * each
