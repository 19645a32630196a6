"""How many images the network of a run is given at a time: chosen once for each shape of images, and kept."""

from collections.abc import Callable

from seasoning.config.run_record import BatchSizeNote, read_batch_sizes, write_batch_sizes
from seasoning.data import Samples
from seasoning.evaluation.batch_size import BatchSize, choose_batch_size
from seasoning.models import PixelClassifier
from seasoning.store.database import Store


__all__ = ["GIB", "BatchSizes", "fewer"]

GIB = 2**30


class BatchSizes:
    """The numbers of a run's network, whatever its parameters.

    Args:
        store: Where they are kept.
        model: The network.
        memory: GiB that may be used where a number is chosen; by default a part of what is free.
        say: Called where memory has no room for as many as the network wants.
    """

    def __init__(self, store: Store, model: PixelClassifier, memory: float | None, say: Callable[[str], None]) -> None:
        self._store, self._model, self._say = store, model, say
        self.memory = None if memory is None else int(memory * GIB)

    def of(self, samples: Samples) -> BatchSize:
        """The number for such images: the one that is kept, or else chosen now, with room for an attack's gradients.

        Raises:
            BadInput: a single image does not fit into the memory.
        """
        if samples.batch_size is not None:
            return BatchSize.given(samples.batch_size)
        kept = read_batch_sizes(self._store).get(_shape(samples))
        if kept is not None:
            return BatchSize(kept.size, kept.wanted)
        chosen = choose_batch_size(self._model, samples.images(slice(2)), gradients=True, memory=self.memory)
        self.keep(samples, chosen)
        return chosen

    def keep(self, samples: Samples, size: BatchSize) -> None:
        """Keep a number that was chosen, or that became smaller since memory ran out."""
        note = BatchSizeNote(size=size.size, wanted=size.wanted)
        write_batch_sizes(self._store, read_batch_sizes(self._store) | {_shape(samples): note})
        if size.size < size.wanted:
            self._say(f"note: {fewer(size)}")


def fewer(size: BatchSize) -> str:
    """That memory made the number smaller, in words."""
    return f"images in the model at a time: {size.size}, since memory has no room for {size.wanted}"


def _shape(samples: Samples) -> str:
    return "x".join(map(str, samples.x.shape[1:]))
