"""Which model of a table is best, as far as held-out images can tell: paired tests, corrected for their number.

Source: McNemar 1947 (exact test of paired proportions); Holm 1979, *A simple sequentially rejective multiple test
procedure*.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from seasoning.metrics import Column
from seasoning.outcomes import ModelKey


__all__ = ["ALPHA", "Entry", "holm", "paired_p", "shown_best"]

ALPHA = 0.05


class Entry(NamedTuple):
    """A model in a column of a table: who it is, and one row of right and wrong for each data set it is a mean of."""

    model: ModelKey
    columns: tuple[Column, ...]

    @property
    def value(self) -> float:
        """The number in the table."""
        return float(np.mean([right.mean() for _, right in self.columns]))


def paired_p(first: Entry, second: Entry) -> float:
    """Two-sided p of equal accuracy over the same images.

    For one data set it is McNemar's exact test; for a mean of several a z test of the difference within each base
    image, since all sets may be made of the same photographs.
    """
    if len(first.columns) == 1:
        mine, theirs = (_ordered(each.columns[0])[1] for each in (first, second))
        gained, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    ids = np.unique(np.concatenate([ids for ids, _ in first.columns]))
    totals = np.zeros(len(ids))
    for one, other in zip(first.columns, second.columns, strict=True):
        (known, mine), (_, theirs) = _ordered(one), _ordered(other)
        difference = mine.astype(float) - theirs
        totals[np.searchsorted(ids, known)] += difference * len(ids) / (len(known) * len(first.columns))
    spread = totals.std(ddof=1) / np.sqrt(len(ids)) if len(ids) > 1 else 0.0
    if spread == 0:
        return 1.0
    return float(2 * stats.norm.sf(abs(totals.mean() / spread)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values, corrected so that all of them together are wrong with the chance of one."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def shown_best(entries: Sequence[Entry | None]) -> list[int]:
    """Places of the model that is better than every other one in the column, all tests together at 5 %.

    A model may stand in several rows. The list is empty where the held-out images do not show one best, where only
    one model is measured, or where the models were not measured on the same images.
    """
    known = [each for each in entries if each is not None]
    if len({each.model for each in known}) < 2 or not _same_images(known):
        return []
    best = max(known, key=lambda each: each.value)
    others = {each.model: each for each in known if each.model != best.model}
    if max(holm([paired_p(best, each) for each in others.values()])) >= ALPHA:
        return []
    return [place for place, each in enumerate(entries) if each is not None and each.model == best.model]


def _ordered(column: Column) -> Column:
    ids, right = column
    order = np.argsort(ids)
    return ids[order], right[order]


def _same_images(entries: Sequence[Entry]) -> bool:
    first = [_ordered(each)[0] for each in entries[0].columns]
    return all(
        len(each.columns) == len(first)
        and all(np.array_equal(_ordered(own)[0], ids) for own, ids in zip(each.columns, first, strict=True))
        for each in entries[1:]
    )
