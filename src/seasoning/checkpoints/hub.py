"""Models by their published names: those of timm and of the Hugging Face Hub, or a local folder in the Hub's form."""

from typing import Any

from seasoning.checkpoints.save import State
from seasoning.errors import BadInput, UnknownName


__all__ = ["PREFIXES", "pretrained", "published"]

PREFIXES = ("timm:", "hf-hub:", "local-dir:")


def pretrained(name: str) -> State:
    """The parameters of a published model.

    Args:
        name: `"timm:NAME"`, `"hf-hub:OWNER/NAME"` or `"local-dir:FOLDER"`.

    Raises:
        UnknownName: timm has no such model.
        BadInput: it cannot be loaded.
    """
    return dict(_network(name, pretrained=True).state_dict())


def published(name: str) -> dict[str, Any]:
    """What timm knows of a published model, such as the mean and standard deviation that it normalizes images by.

    Raises:
        As `pretrained`.
    """
    import timm

    if name.startswith("timm:"):
        _require_known(name)
        return {"pretrained_cfg": timm.get_pretrained_cfg(name.removeprefix("timm:")).to_dict()}
    return {"pretrained_cfg": dict(_network(name, pretrained=False).pretrained_cfg)}


def _require_known(name: str) -> None:
    import timm

    if not timm.is_model(name.removeprefix("timm:")):
        raise UnknownName("pretrained model", name, [f"timm:{name}" for name in timm.list_pretrained()])


def _network(name: str, *, pretrained: bool) -> Any:
    import timm

    if name.startswith("timm:"):
        _require_known(name)
    try:
        return timm.create_model(name.removeprefix("timm:"), pretrained=pretrained)
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(f"{name} could not be loaded by timm: {error}") from error
