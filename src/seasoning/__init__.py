"""Seasoning: model soups for robustness to adversarial and natural distribution shifts.

Importing the package imports no torch; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from seasoning.attacks.apgd import apgd
    from seasoning.attacks.sequence import strongest
    from seasoning.checkpoint import load_ingredient
    from seasoning.errors import SeasoningError
    from seasoning.evaluation import evaluate
    from seasoning.geometry import project
    from seasoning.metrics import Estimate, accuracy, robust_accuracy, union_accuracy
    from seasoning.models import build_model
    from seasoning.soup.check import check_mixable
    from seasoning.soup.mix import mix
    from seasoning.soup.stream import mix_files
    from seasoning.threat import Threat

__version__ = "0.1.0"

__all__ = [
    "Estimate",
    "SeasoningError",
    "Threat",
    "accuracy",
    "apgd",
    "build_model",
    "check_mixable",
    "evaluate",
    "load_ingredient",
    "mix",
    "mix_files",
    "project",
    "robust_accuracy",
    "strongest",
    "union_accuracy",
]

_HOMES = {
    "Estimate": "metrics",
    "SeasoningError": "errors",
    "Threat": "threat",
    "accuracy": "metrics",
    "apgd": "attacks",
    "build_model": "models",
    "check_mixable": "soup",
    "evaluate": "evaluation",
    "load_ingredient": "checkpoint",
    "mix": "soup",
    "mix_files": "soup",
    "project": "geometry",
    "robust_accuracy": "metrics",
    "strongest": "attacks",
    "union_accuracy": "metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seasoning' has no attribute {name!r}")
    value = getattr(import_module(f"seasoning.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
