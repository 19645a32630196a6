"""Checkpoints: from files and published names to lazy mappings of tensors and back, and what a file says of itself."""

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import State, load_ingredient, read_metadata
from seasoning.checkpoints.provenance import constants_of, ingredient_metadata, ingredient_name, soup_metadata
from seasoning.checkpoints.save import save_state


__all__ = [
    "State",
    "constants_of",
    "fingerprint",
    "ingredient_metadata",
    "ingredient_name",
    "load_ingredient",
    "read_metadata",
    "save_state",
    "soup_metadata",
]
