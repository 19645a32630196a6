"""The store: outcomes and notes of a run on disk, and whose folder it is."""

from seasoning.store.database import Store


__all__ = ["Store"]
