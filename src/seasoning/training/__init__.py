"""Training: objectives for one threat or none, the loop, and its resumable state."""

from seasoning.training.loop import Trained, train
from seasoning.training.objectives import Objective, adversarial, nominal


__all__ = ["Objective", "Trained", "adversarial", "nominal", "train"]
