"""Soups: mixing the parameters of ingredients, checking beforehand whether that makes sense, and the ensemble."""

from seasoning.soup.check import MixReport, check_mixable
from seasoning.soup.ensemble import Ensemble
from seasoning.soup.mix import mix, mix_files, soup_metadata


__all__ = ["Ensemble", "MixReport", "check_mixable", "mix", "mix_files", "soup_metadata"]
