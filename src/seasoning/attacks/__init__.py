"""Attacks: searches for the worst image that a threat allows."""

from seasoning.attacks.apgd import LOSSES, apgd
from seasoning.attacks.base import Attack, AttackResult, Classifier, describe
from seasoning.attacks.suites import SUITES, suite_attack


__all__ = ["LOSSES", "SUITES", "Attack", "AttackResult", "Classifier", "apgd", "describe", "suite_attack"]
