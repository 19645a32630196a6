"""The store: outcomes and notes of a run on disk, and whose folder it is."""

from seasoning.store.database import Store
from seasoning.store.run_folder import STORE


__all__ = ["STORE", "Store"]
