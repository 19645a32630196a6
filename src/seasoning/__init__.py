"""Seasoning: model soups for robustness to adversarial and natural distribution shifts.

Importing the package imports no torch; each name is loaded when it is first used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from seasoning.attacks.apgd import apgd
    from seasoning.attacks.worst_case import strongest
    from seasoning.checkpoints.load import load_ingredient
    from seasoning.commands.search import search
    from seasoning.commands.train import train
    from seasoning.data.samples import Samples
    from seasoning.data.sources import load_source, split_samples
    from seasoning.errors import SeasoningError
    from seasoning.evaluation.evaluator import evaluate
    from seasoning.geometry import project
    from seasoning.metrics import accuracy, robust_accuracy, union_accuracy
    from seasoning.models.build import build_model
    from seasoning.soup.mix import mix
    from seasoning.soup.mix_files import mix_files
    from seasoning.soup.mixability import check_mixable
    from seasoning.statistics import Estimate
    from seasoning.threat import Threat

__all__ = [
    "Estimate",
    "Samples",
    "SeasoningError",
    "Threat",
    "accuracy",
    "apgd",
    "build_model",
    "check_mixable",
    "evaluate",
    "load_ingredient",
    "load_source",
    "mix",
    "mix_files",
    "project",
    "robust_accuracy",
    "search",
    "split_samples",
    "strongest",
    "train",
    "union_accuracy",
]

_HOMES = {
    "Estimate": "statistics",
    "Samples": "data.samples",
    "SeasoningError": "errors",
    "Threat": "threat",
    "accuracy": "metrics",
    "apgd": "attacks.apgd",
    "build_model": "models.build",
    "check_mixable": "soup.mixability",
    "evaluate": "evaluation.evaluator",
    "load_ingredient": "checkpoints.load",
    "load_source": "data.sources",
    "mix": "soup.mix",
    "mix_files": "soup.mix_files",
    "project": "geometry",
    "robust_accuracy": "metrics",
    "search": "commands.search",
    "split_samples": "data.sources",
    "strongest": "attacks.worst_case",
    "train": "commands.train",
    "union_accuracy": "metrics",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("seasoning")
    if name not in _HOMES:
        raise AttributeError(f"module 'seasoning' has no attribute {name!r}")
    value = getattr(import_module(f"seasoning.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
