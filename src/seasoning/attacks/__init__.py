"""Attacks: searches for the worst image that a threat allows."""

from seasoning.attacks.apgd import LOSSES, PRECISIONS, apgd
from seasoning.attacks.base import Attack, AttackResult, Classifier, describe
from seasoning.attacks.external import fab, square
from seasoning.attacks.harness import BatchDependent, MaskedGradients, Randomised, device_of, evaluation_mode
from seasoning.attacks.sequence import strongest
from seasoning.attacks.suites import SUITES, suite_attack


__all__ = [
    "LOSSES",
    "PRECISIONS",
    "SUITES",
    "Attack",
    "AttackResult",
    "BatchDependent",
    "Classifier",
    "MaskedGradients",
    "Randomised",
    "apgd",
    "describe",
    "device_of",
    "evaluation_mode",
    "fab",
    "square",
    "strongest",
    "suite_attack",
]
