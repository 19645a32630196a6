"""Networks by name; importing this folder makes ours known to timm."""

from seasoning.models.build import Classifier, build_model
from seasoning.models.resnet import ResidualNetwork, resnet_small


__all__ = ["Classifier", "ResidualNetwork", "build_model", "resnet_small"]
