"""What a model answers: whether its outputs are logits, and whether an outcome can rest on them."""

import warnings
from typing import Any

import torch
from torch import Tensor

from seasoning.attacks.base import Classifier
from seasoning.attacks.checks import BatchDependent, MaskedGradients, Randomised, check_shape, device_of, in_batches
from seasoning.errors import BadInput


__all__ = ["check_logits", "checked_logits", "in_bf16"]

# Operations whose outputs are no logits, and those after which they still are none: casts, shapes, factors and sums.
_SCORES = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Hardsigmoid": "sigmoid"}
_UNCHANGING = (
    *("Mul", "Div", "ToCopy", "Clone", "Alias", "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze"),
    *("Slice", "Select", "Transpose", "T", "Permute", "Clamp", "Expand"),
)
_SUMS = ("Add", "Mean", "Sum", "Stack", "Cat")
# The probe passes so many images again, in groups of these sizes.
_PROBED = 32
_GROUPS = (2, 3, 5, 8, 14)
# Logits of one image in two batches may differ by rounding, since kernels depend on the shape of the batch: by so much
# of the largest logit, and by so many units of the precision in which they are computed. On other devices than a CPU
# convolutions round to ten bits.
_SAME, _SAME_ELSEWHERE, _SAME_UNITS = 1e-3, 5e-3, 4


def check_logits(logits: Tensor, y: Tensor) -> None:
    """Refuse outputs that are not one finite logit for each class of each image.

    Raises:
        BadInput: wrong shape, not finite, or labels beyond the classes.
    """
    check_shape(logits, len(y))
    if not bool(torch.isfinite(logits).all()):
        raise BadInput("the model returned NaN or infinite logits: check its parameters and running statistics")
    classes = logits.shape[1]
    if classes < 2:
        raise BadInput("the model returns one logit for each image: expected one for each of at least two classes")
    if y.dim() == 1 and not bool(((y >= 0) & (y < classes)).all()):
        raise BadInput(f"labels range over [{int(y.min())}, {int(y.max())}], the model has {classes} classes")
    if y.dim() == 2 and y.shape[1] != classes:
        raise BadInput(f"soft labels over {y.shape[1]} classes, the model has {classes}")


def checked_logits(model: Classifier, x: Tensor, y: Tensor, batch_size: int, *, probe: bool) -> Tensor:
    """Logits `(B, K)` at clean images, on the device of the images, after a look at what the model is.

    Args:
        model: Images in [0, 1] to logits; in evaluation mode where it is to be probed.
        x: Images, `(B, C, H, W)`.
        y: Classes, `(B,)`, or soft labels, `(B, K)`.
        batch_size: Most images in the model at a time.
        probe: Whether to warn of a model that is randomised or mixes the images of a batch.

    Raises:
        BadInput: the outputs are no logits of the labels' classes.

    Warns:
        MaskedGradients: all outputs lie in [0, 1], and whether they are logits cannot be told.
        BatchDependent, Randomised: as the probe finds.
    """
    device = device_of(model, x)
    logits = in_batches(model, x, batch_size, device)
    check_logits(logits, y.to(device))
    _refuse_probabilities(logits)
    if probe:
        _refuse_scores(model, x[:2].to(device), logits)
        _probe(model, x, logits, batch_size, device)
    return logits.to(x.device)


def _refuse_probabilities(logits: Tensor) -> None:
    """Refuse rows of numbers that are not negative and sum to 1 or to 100, up to the rounding of their precision."""
    if not bool((logits >= 0).all()):
        return
    sums = logits.double().sum(1)
    for whole, name in ((1, "probabilities"), (100, "percents")):
        if bool(((sums / whole - 1).abs() <= max(1e-4, 2 * resolution(logits))).all()):
            raise BadInput(f"the model returns {name}: expected logits; remove its softmax")


def _refuse_scores(model: Classifier, images: Tensor, logits: Tensor) -> None:
    """Refuse what a sigmoid or a softmax made, where the last operations of the model say so; warn where it may be.

    Outputs that are never negative may well be logits, so their values alone are not enough.
    """
    if not bool((logits >= 0).all()):
        return
    try:
        with torch.enable_grad():
            graph = model(images.clone().requires_grad_()).grad_fn
    except RuntimeError:  # a model that cannot be differentiated
        graph = None
    kind = _scores_of(graph)
    if kind is not None:
        raise BadInput(f"the model returns the scores of a {kind}: expected logits; remove it from the model")
    if (graph is None or "Compiled" in graph.name()) and bool((logits <= 1).all()):
        warnings.warn(
            "all outputs of the model lie in [0, 1]: if they are scores, such as those of a sigmoid, an attack on them "
            "is weak and robust accuracy is overstated; give the logits instead",
            MaskedGradients,
            stacklevel=4,
        )


def _scores_of(node: Any) -> str | None:
    """What made the outputs of a node of a graph if that is known to give scores: `"softmax"` or `"sigmoid"`."""
    name = "" if node is None else str(node.name()).rstrip("0123456789").removesuffix("Backward")
    if name in _SCORES:
        return _SCORES[name]
    before = [each for each, _ in node.next_functions if each is not None] if name else []
    through = name in _SUMS or (name in _UNCHANGING and len(before) == 1)
    kinds = {_scores_of(function) for function in before} if through else set()
    return kinds.pop() if len(kinds) == 1 else None


def in_bf16(model: Classifier, x: Tensor) -> Tensor:
    """Logits of images whose pass is taken in bfloat16, in the type of the images."""
    # The cache of autocast would keep rounded copies of parameters that a caller may change between passes.
    with torch.autocast(x.device.type, dtype=torch.bfloat16, cache_enabled=False):
        logits = model(x)
    return logits.to(x.dtype)


def _probe(model: Classifier, x: Tensor, clean: Tensor, batch_size: int, device: torch.device) -> None:
    """Warn where logits change from call to call, or with the images beside them.

    Takes one pass over some images from everywhere in the set, in small groups, each with other neighbours than in the
    clean pass. Where their logits differ from those, a second pass tells randomness from dependence on the batch.
    """
    groups = _groups(len(x), batch_size)

    def answers() -> Tensor:
        return torch.cat([in_batches(model, x[rows], len(rows), device) for rows in groups])

    before, first = clean[torch.cat(groups).to(device)], answers()
    if _same(first, before):
        return
    if not _same(answers(), first):
        warnings.warn(
            "the model answers differently from call to call: a robust accuracy of it is one draw, and attacks that do "
            "not average over its randomness overstate it; switch the randomness off, or attack the expected logits",
            Randomised,
            stacklevel=4,
        )
    else:
        warnings.warn(
            "the logits of an image change with the images beside it, as with batch statistics in a normalization "
            "layer: outcomes depend on the batches and an attack can exploit it; use stored statistics",
            BatchDependent,
            stacklevel=4,
        )


def _groups(count: int, batch_size: int) -> list[Tensor]:
    """Rows of the images to probe, in groups of different sizes: far apart from each other, the last ones first.

    Single images make no group unless there are no others: some layers cannot take them.
    """
    rows = torch.linspace(count - 1, 0, min(count, _PROBED)).round().long()
    sizes, groups = iter(_GROUPS), []
    while len(rows):
        size = min(next(sizes, _GROUPS[-1]), batch_size)
        if min(size, len(rows)) > 1 or size == 1 or count == 1:
            groups.append(rows[:size])
        rows = rows[size:]
    return groups


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether logits agree up to the rounding of the precision that they are computed in."""
    rounding = max(_SAME if one.device.type == "cpu" else _SAME_ELSEWHERE, _SAME_UNITS * resolution(other))
    scale = float(other.abs().max()) + 1e-6
    return bool(((one - other).abs() <= rounding * scale).all())


def resolution(logits: Tensor) -> float:
    """Unit of rounding of the coarsest type that holds all the values exactly: they may have been cast since."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if torch.equal(logits.to(dtype).to(logits.dtype), logits):
            return float(torch.finfo(dtype).eps)
    return float(torch.finfo(logits.dtype).eps)
