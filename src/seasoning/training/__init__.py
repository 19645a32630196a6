"""Training: objectives, the attacks of training, and the resumable loop."""

from seasoning.training.attack import BATCH_NORMS, TrainingAttack
from seasoning.training.loop import Trained, train
from seasoning.training.msd import multi_steepest
from seasoning.training.objectives import (
    OBJECTIVES,
    BatchLoss,
    Outer,
    TrainingObjective,
    adversarial,
    advprop,
    average,
    eat,
    make_objective,
    maximum,
    msd,
    nominal,
    sat,
)
from seasoning.training.optimization import Settings, cosine_rate, require_images, require_parts
from seasoning.training.progress import TrainingProgress
from seasoning.training.validation import Scores, validator


__all__ = [
    "BATCH_NORMS",
    "OBJECTIVES",
    "BatchLoss",
    "Outer",
    "Scores",
    "Settings",
    "Trained",
    "TrainingAttack",
    "TrainingObjective",
    "TrainingProgress",
    "adversarial",
    "advprop",
    "average",
    "cosine_rate",
    "eat",
    "make_objective",
    "maximum",
    "msd",
    "multi_steepest",
    "nominal",
    "require_images",
    "require_parts",
    "sat",
    "train",
    "validator",
]
