"""Attacks: searches for the worst image that a threat allows."""

from seasoning.attacks.apgd import LOSSES, PRECISIONS, apgd
from seasoning.attacks.autoattack import fab, square
from seasoning.attacks.base import Attack, AttackResult, Classifier, describe
from seasoning.attacks.checks import BatchDependent, MaskedGradients, Randomised, device_of, evaluation_mode
from seasoning.attacks.suites import SUITES, suite_attack
from seasoning.attacks.worst_case import strongest


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
