"""Networks by name; importing this folder makes ours known to timm."""

from seasoning.models.build import PixelClassifier, build_model, require_architecture
from seasoning.models.key_maps import adapt_keys, carried_normalization, fitted
from seasoning.models.resnet import (
    ACTIVATIONS,
    STYLES,
    ResidualNetwork,
    Style,
    preact_resnet18,
    resnet_small,
    wide_resnet,
    wide_resnet_28_10,
    wide_resnet_34_10,
)
from seasoning.models.split_norm import auxiliary_branch, split_norms


__all__ = [
    "ACTIVATIONS",
    "STYLES",
    "PixelClassifier",
    "ResidualNetwork",
    "Style",
    "adapt_keys",
    "auxiliary_branch",
    "build_model",
    "carried_normalization",
    "fitted",
    "preact_resnet18",
    "require_architecture",
    "resnet_small",
    "split_norms",
    "wide_resnet",
    "wide_resnet_28_10",
    "wide_resnet_34_10",
]
