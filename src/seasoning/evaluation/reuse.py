"""Outcomes of images that were measured among others: taken over into a measurement of these.

A measurement belongs to a data set by the fingerprint of all its samples, so that of a thousand images and that of all
are two. Digests of the single images, kept beside the outcomes, tell which are the same.
"""

import base64
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seasoning.data import Samples
from seasoning.outcomes import Measurement
from seasoning.store.database import Store


__all__ = ["take_over"]

_BITS = np.dtype(">u8")


def take_over(store: Store, asked: Measurement, samples: Samples) -> None:
    """Copy to a measurement what is known of its images from others that differ from it in the images alone.

    Args:
        store: Where outcomes are kept.
        asked: What will be measured.
        samples: Its images.
    """
    own = _digests(store, samples, asked.samples)
    ids = samples.ids.numpy()
    for other in store.measurements():
        if other.model != asked.model or replace(other, samples=asked.samples) != asked or other == asked:
            continue
        theirs = _noted(store, other.samples)
        if theirs is None:
            continue
        wanted = np.setdiff1d(ids[np.isin(own, theirs)], store.known_ids(asked))
        known = store.known(other)
        if known is None or not np.isin(wanted, known.ids).any():
            continue
        rows = known.take(np.isin(known.ids, wanted))
        headers = [header for mark, header in store.headers() if mark == other.key]
        passes = {"gradients": int(rows.gradients.sum()), "forwards": int(rows.forwards.sum())}
        seconds = sum(header["seconds"] for header in headers) * len(rows) / len(known)
        store.add(asked, len(samples), rows, headers[0] | passes | {"seconds": round(seconds, 4)})


def _digests(store: Store, samples: Samples, fingerprint: str) -> NDArray[np.uint64]:
    """The digest of each image, from the store or taken now."""
    noted = _noted(store, fingerprint)
    if noted is None:
        noted = samples.digests()
        store.write_note(_name(fingerprint), base64.b64encode(noted.astype(_BITS).tobytes()).decode())
    return noted


def _noted(store: Store, fingerprint: str) -> NDArray[np.uint64] | None:
    text = store.note(_name(fingerprint))
    return None if text is None else np.frombuffer(base64.b64decode(text), dtype=_BITS).astype(np.uint64)


def _name(fingerprint: str) -> str:
    return f"images {fingerprint}"
