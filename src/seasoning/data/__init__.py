"""Data: samples with stable ids, the sources they come from, and shifts made of them."""

from seasoning.data.corruptions.apply import CORRUPTIONS, corrupt, corrupted
from seasoning.data.labels import LabelMap
from seasoning.data.samples import Batch, Samples
from seasoning.data.shifts import SHIFTS, apply_shift
from seasoning.data.sources import SOURCES, SPLITS, load_source, split_samples


__all__ = [
    "CORRUPTIONS",
    "SHIFTS",
    "SOURCES",
    "SPLITS",
    "Batch",
    "LabelMap",
    "Samples",
    "apply_shift",
    "corrupt",
    "corrupted",
    "load_source",
    "split_samples",
]
