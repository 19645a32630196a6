"""Training: what is lowered, how images are attacked meanwhile, and the resumable loop."""

from seasoning.training.attacking import BATCH_NORMS, TrainingAttack
from seasoning.training.engine import Trained, train
from seasoning.training.objectives import (
    OBJECTIVES,
    Lowered,
    Objective,
    Outer,
    adversarial,
    average,
    eat,
    make_objective,
    maximum,
    msd,
    nominal,
    sat,
)
from seasoning.training.report import Report
from seasoning.training.settings import Settings, require_images
from seasoning.training.steepest import multi_steepest
from seasoning.training.validation import Scores, validator


__all__ = [
    "BATCH_NORMS",
    "OBJECTIVES",
    "Lowered",
    "Objective",
    "Outer",
    "Report",
    "Scores",
    "Settings",
    "Trained",
    "TrainingAttack",
    "adversarial",
    "average",
    "eat",
    "make_objective",
    "maximum",
    "msd",
    "multi_steepest",
    "nominal",
    "require_images",
    "sat",
    "train",
    "validator",
]
