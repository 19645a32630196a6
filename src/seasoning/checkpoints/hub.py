"""Models by their published names: those of timm and of the Hugging Face Hub, or a local folder in the Hub's form."""

from seasoning.checkpoints.save import State
from seasoning.errors import BadInput, UnknownName


__all__ = ["PREFIXES", "pretrained"]

PREFIXES = ("timm:", "hf-hub:", "local-dir:")


def pretrained(name: str) -> State:
    """The parameters of a published model.

    Args:
        name: `"timm:NAME"`, `"hf-hub:OWNER/NAME"` or `"local-dir:FOLDER"`.

    Raises:
        UnknownName: timm has no such model.
        BadInput: it cannot be loaded.
    """
    import timm

    if name.startswith("timm:") and not timm.is_model(name.removeprefix("timm:")):
        raise UnknownName("pretrained model", name, [f"timm:{each}" for each in timm.list_pretrained()])
    try:
        network = timm.create_model(name.removeprefix("timm:"), pretrained=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise BadInput(f"{name} could not be loaded by timm: {error}") from error
    return dict(network.state_dict())
