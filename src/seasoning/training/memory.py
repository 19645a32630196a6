"""What to set where a batch does not fit: into the memory, or to batch norm."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from seasoning.errors import BadInput, out_of_memory
from seasoning.training.optimization import Settings


__all__ = ["fits"]

_ONE_VALUE = "more than 1 value per channel"


@contextmanager
def fits(settings: Settings, device: torch.device) -> Iterator[None]:
    """Say what to set where a batch is too large for the memory, or too small for batch norm.

    Raises:
        BadInput: saying so.
    """
    try:
        yield
    except ValueError as error:
        if _ONE_VALUE not in str(error):
            raise
        raise BadInput(
            f"a batch of {settings.batch_size} images in {settings.accumulate} parts leaves batch norm a single value "
            "to take a variance of: set accumulate lower or batch_size higher"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        size, more = settings.batch_size, range(settings.accumulate + 1, settings.batch_size)
        parts = next((each for each in more if size % each == 0), size)
        raise BadInput(
            f"a batch of {size} images in {settings.accumulate} parts does not fit into the memory of {device}: set "
            f"accumulate={parts}, which takes the same batch in {parts} parts, or a smaller batch_size"
        ) from error
