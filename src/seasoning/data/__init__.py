"""Data: samples with stable ids, the sources they come from, and shifts made of them."""

from seasoning.data.samples import Batch, Samples
from seasoning.data.shifts import SHIFTS, apply_shift
from seasoning.data.sources import SOURCES, SPLITS, load_source, split_samples


__all__ = ["SHIFTS", "SOURCES", "SPLITS", "Batch", "Samples", "apply_shift", "load_source", "split_samples"]
