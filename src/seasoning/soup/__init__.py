"""Soups: mixing the parameters of ingredients, checking beforehand whether that makes sense, and the ensemble."""

from seasoning.soup.algebra import (
    average_weights,
    difference_weights,
    line_weights,
    mix_groups,
    model_stock,
    parse_weights,
    uniform_weights,
)
from seasoning.soup.branches import mix_branches
from seasoning.soup.buffers import POLICIES, recalibrate
from seasoning.soup.check import MixReport, check_mixable
from seasoning.soup.ensemble import Ensemble
from seasoning.soup.mix import mix, mix_into
from seasoning.soup.recipe import soup_metadata
from seasoning.soup.stream import mix_files, verify_soup


__all__ = [
    "POLICIES",
    "Ensemble",
    "MixReport",
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
    "soup_metadata",
    "uniform_weights",
    "verify_soup",
]
