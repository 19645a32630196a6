"""Soups: mixing the parameters of ingredients, checking beforehand whether that makes sense, and the ensemble."""

from seasoning.soup.batch_norm import POLICIES, recalibrate
from seasoning.soup.ensemble import Ensemble
from seasoning.soup.layerwise import mix_groups, model_stock
from seasoning.soup.mix import mix, mix_into
from seasoning.soup.mix_files import mix_files
from seasoning.soup.mixability import Mixability, check_mixable
from seasoning.soup.split_batch_norm import mix_branches
from seasoning.soup.verify import verify_soup
from seasoning.soup.weights import (
    average_weights,
    difference_weights,
    line_weights,
    parse_weights,
    uniform_weights,
)


__all__ = [
    "POLICIES",
    "Ensemble",
    "Mixability",
    "average_weights",
    "check_mixable",
    "difference_weights",
    "line_weights",
    "mix",
    "mix_branches",
    "mix_files",
    "mix_groups",
    "mix_into",
    "model_stock",
    "parse_weights",
    "recalibrate",
    "uniform_weights",
    "verify_soup",
]
