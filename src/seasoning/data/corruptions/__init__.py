"""The 15 common corruptions at 5 severities: how each changes an image, and C versions of whole data sets."""

from seasoning.data.corruptions.apply import corrupt, corrupted
from seasoning.noise import CORRUPTIONS


__all__ = ["CORRUPTIONS", "corrupt", "corrupted"]
