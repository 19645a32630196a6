"""Names in the package's tables, so that an unknown one is refused before torch is imported.

The tables lie beside what they name; `tests/cli/test_names.py` holds these to them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from seasoning.errors import UnknownName


__all__ = ["NAMES", "require_data", "require_each", "require_names"]

# By what errors call one of them.
NAMES: dict[str, tuple[str, ...]] = {
    "attack suite": ("default", "thorough", "strong", "standard"),
    "precision": ("full", "bf16"),
    "batch-norm policy": ("mix", "geometric", "clean", "attacked"),
    "way to mix": ("uniform", "line", "differences", "average"),
    "split": ("train", "validation", "selection", "test"),
    "transform": ("auto", "model", "as-is"),
    "source": ("digits",),
    "data set": (
        *("imagenet", "imagenet-real", "imagenet-v2", "imagenet-a", "imagenet-r", "imagenet-sketch"),
        *("conflict-stimuli", "imagenet-c", "cifar10", "cifar100", "cifar10-c", "cifar100-c", "folder", "folder-c"),
    ),
    "corruption": (
        *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    ),
    "strategy": ("climb", "race", "grid", "greedy", "uniform", "random"),
    "shift": ("noise", "blur", "contrast", "rotation", "occlusion"),
}


def require_names(kind: str, given: Iterable[str | None]) -> None:
    """Refuse names that are in no table.

    Args:
        kind: A key of `NAMES`.
        given: Names; `None` is none.

    Raises:
        UnknownName: naming the nearest.
    """
    for name in given:
        if name is not None and name not in NAMES[kind]:
            raise UnknownName(kind, name, NAMES[kind])


def require_each(given: Mapping[str, str | None], data: Iterable[str] = ()) -> None:
    """Refuse names that are in no table, given by their kinds, and data as `require_data` does.

    Raises:
        UnknownName: naming the nearest.
    """
    for kind, name in given.items():
        require_names(kind, [name])
    require_data(data)


def require_data(given: Iterable[str], folder: Path = Path()) -> None:
    """Refuse data that are no known set, no file or folder, and none of these with a kind in front.

    Args:
        given: What `--data` takes.
        folder: Where places are also looked for.

    Raises:
        UnknownName: naming the nearest.
    """
    for text in given:
        kind, equals, _ = text.partition("=")
        known = text in NAMES["source"] or Path(text).exists() or (folder / text).exists()
        if not known and not (equals and kind in NAMES["data set"]):
            raise UnknownName("data set", kind if equals else text, [*NAMES["source"], *NAMES["data set"]])
