"""Evaluation: from a model and samples to one outcome for each sample, in memory or against a store."""

from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.evaluation.recalibrate import calibrate


__all__ = ["LiveSoup", "calibrate", "evaluate"]
