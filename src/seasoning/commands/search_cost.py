"""What a search will take, found before the work: a dry run counts samples, a warm-up prices them."""

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from seasoning.commands.search_data import OpenTask
from seasoning.commands.search_soups import Price, SoupOutcomes
from seasoning.config.run_record import RunRecord
from seasoning.config.search import points_of
from seasoning.errors import BadInput
from seasoning.evaluation.progress import Meter, Watch
from seasoning.report import contenders
from seasoning.strategies import STRATEGIES, all_tasks, dry_run, starts


__all__ = ["Prices", "SearchCost", "estimate_cost", "require_affordable"]

# Bytes of a store for each sample measured, and for each block besides.
_ROW, _BLOCK = 20, 600
# How many times the passes of the default suite the confirming one takes, roughly.
_CONFIRMING = 3


class SearchCost(NamedTuple):
    """What a search takes if nothing of it is known yet.

    Args:
        strategy: How the space is searched.
        soups: Points of the space.
        ingredients: Of which soups are made.
        candidates: Other models that are measured beside the soups.
        objectives: How many.
        tasks: How many.
        shots: Selection images of each data set.
        images: Samples measured by the search, and their passes.
        passes: See there.
        fraction: Samples measured, as a fraction of those of the whole grid.
        others: Samples measured at most for the final numbers, of candidates selection images too, and their passes.
        other_passes: See there.
        search_seconds: Of the search alone.
        seconds: In all.
        disk: Bytes written.
    """

    strategy: str
    soups: int
    ingredients: int
    candidates: int
    objectives: int
    tasks: int
    shots: int
    images: int
    passes: float
    fraction: float
    others: int
    other_passes: float
    search_seconds: float
    seconds: float
    disk: float


class Prices(NamedTuple):
    """What one sample of a task takes, by task and by whether it is screened; of candidates by their mark and task."""

    known: Mapping[tuple[str, bool], Price]
    candidates: Mapping[tuple[str, str], Price] = {}

    def of(self, task: str, *, screening: bool = False) -> Price:
        """The price of a task; screening that is no other measurement costs the same."""
        return self.known.get((task, screening)) or self.known[task, False]

    def seconds(self, task: str, *, screening: bool = False, confirming: bool = False, mark: str = "") -> float:
        """Seconds of one sample, of a candidate where its mark is given; under the confirming suite by estimate."""
        price = self.candidates[mark, task] if mark else self.of(task, screening=screening)
        return price.seconds * (_CONFIRMING if confirming else 1)


def estimate_cost(
    record: RunRecord, soups: SoupOutcomes, tasks: Mapping[str, OpenTask], folder: Path, watch: Watch
) -> tuple[Prices, SearchCost]:
    """What a search will take.

    Args:
        record: Of the search.
        soups: What measures the warm-up; its outcomes are not measured again.
        tasks: With their samples.
        folder: Of the run.
        watch: Called with the progress of the warm-up.
    """
    plan, objectives = record.plan, record.objectives
    asked: Counter[tuple[str, bool]] = Counter()
    for names in dict.fromkeys(objective.ingredients for objective in objectives):
        group = [objective for objective in objectives if objective.ingredients == names]
        asked += dry_run(STRATEGIES[plan.strategy], points_of(plan, names), group, plan.shots)
    center = starts(points_of(plan))[-1]
    final, beside = _final_samples(record, tasks), _candidate_samples(record, tasks)
    keys = list(dict.fromkeys([*asked, *((task, False) for task in final)]))
    meter, known = Meter(watch, len(keys) + len(beside)), dict[tuple[str, bool], Price]()
    for task, screening in keys:
        meter.advance("warming up", 0)
        known[task, screening] = soups.price(center, task, screening=screening)
        meter.advance("warming up", 1)
    others_known = {}
    for mark, task in beside:
        others_known[mark, task] = soups.candidate_price(mark, task)
        meter.advance("warming up", 1)
    prices = Prices(known, others_known)
    images, others = sum(asked.values()), sum(final.values()) + sum(beside.values())
    search_seconds = sum(count * known[key].seconds for key, count in asked.items())
    more = sum(count * prices.seconds(task) for task, count in final.items())
    more += sum(count * others_known[key].seconds for key, count in beside.items())
    size = sum(tensor.nbytes for tensor in soups.live_state().values())
    blocks = (images + others) / max(1, plan.shots // 4)
    whole = record.space * plan.shots * len(all_tasks(objectives))
    return prices, SearchCost(
        strategy=plan.strategy,
        soups=record.space,
        ingredients=len(record.ingredients),
        candidates=len(record.candidates),
        objectives=len(objectives),
        tasks=len(tasks),
        shots=plan.shots,
        images=images,
        passes=sum(count * known[key].passes for key, count in asked.items()),
        fraction=images / whole,
        others=others,
        other_passes=sum(count * prices.of(task).passes for task, count in final.items())
        + sum(count * others_known[key].passes for key, count in beside.items()),
        search_seconds=search_seconds,
        seconds=search_seconds + more,
        disk=_ROW * (images + others) + _BLOCK * blocks + size * len(objectives),
    )


def require_affordable(cost: SearchCost, minutes: float | None, folder: Path) -> None:
    """Refuse a search that is too much.

    Raises:
        BadInput: it takes more time than the plan gives, or more than the disk has.
    """
    if minutes is not None and cost.seconds > 60 * minutes:
        raise BadInput(
            f"the search would take about {cost.seconds / 60:.1f} minutes ({cost.search_seconds / 60:.1f} of it before "
            f"the final numbers), more than the {minutes:g} minutes given: raise time_limit, or lower shots, others or "
            "top"
        )
    free = shutil.disk_usage(folder).free
    if cost.disk > free:
        raise BadInput(
            f"the search would write about {cost.disk / 2**20:,.1f} MiB, {folder} has {free / 2**20:,.1f} MiB left: "
            "choose another --out, or fewer objectives"
        )


def _final_samples(record: RunRecord, tasks: Mapping[str, OpenTask]) -> Counter[str]:
    """Held-out samples of each task that the final numbers of soups and ensembles take at most."""
    samples: Counter[str] = Counter()
    several = dict.fromkeys((objective.name for objective in record.objectives), (1.0,) * len(record.ingredients))
    mixed = [contender for contender in contenders(record, several) if not contender.mark]
    passes = sum(contender.passes for contender in mixed)
    confirmed = sum(contender.confirmed for contender in mixed)
    for name, task in tasks.items():
        left = 0 if task.others is None else len(task.others.samples)
        own = sum(name in objective.tasks for objective in record.objectives)
        more = _CONFIRMING * confirmed if name in record.confirming else 0
        samples[name] += left * (passes + own * record.plan.top + more)
    return samples


def _candidate_samples(record: RunRecord, tasks: Mapping[str, OpenTask]) -> Counter[tuple[str, str]]:
    """Samples of each task that each candidate is measured on, those under the stronger attack as so many more."""
    samples: Counter[tuple[str, str]] = Counter()
    for note in record.candidates:
        for name, task in tasks.items():
            left = 0 if task.others is None else len(task.others.samples)
            often = 1 + (_CONFIRMING if name in record.confirming else 0)
            samples[note.fingerprint, name] = len(task.order) + often * left
    return samples
