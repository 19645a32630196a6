"""`search`: from a plan to chosen soups, what they are worth, and their files."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seasoning.attacks import SUITES, describe, suite_attack
from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.load import State
from seasoning.checkpoints.provenance import read_ingredient
from seasoning.commands.batch_sizes import BatchSizes
from seasoning.commands.data import view_of
from seasoning.commands.overlap import known_images
from seasoning.commands.search_answers import KnownSoups, answer_search, chosen_ids
from seasoning.commands.search_candidates import OpenCandidate, open_candidates, require_candidates, require_images
from seasoning.commands.search_cost import Prices, SearchCost, estimate_cost, require_affordable
from seasoning.commands.search_data import OpenTask, Sets, load_tasks, open_sets
from seasoning.commands.search_soups import SoupOutcomes, fingerprints_of, live_model, network_of, read_ingredients
from seasoning.config.run_record import (
    EpochNote,
    IngredientNote,
    NetworkNote,
    PartsNote,
    RunRecord,
    read_record,
    write_record,
)
from seasoning.config.search import SearchPlan, make_plan, objectives_of, points_of, require_front
from seasoning.data import SHIFTS
from seasoning.errors import RunConflict, UnknownName
from seasoning.evaluation.progress import Meter, Watch, part_of
from seasoning.models import PixelClassifier
from seasoning.models.probe import pick_device
from seasoning.outcomes import Measured
from seasoning.report import Results, write_page
from seasoning.selection import SearchObjective
from seasoning.selection.answers import Answer, SearchResult, weights_in_words
from seasoning.soup import Ensemble
from seasoning.store.database import Store
from seasoning.store.run_folder import PAGE, STORE, check_folder, claimed
from seasoning.strategies import STRATEGIES, Proposal, Strategy, Weights, run_strategy, together
from seasoning.threat import Threat


__all__ = ["check_plan", "run_plan", "search", "with_architecture"]

# The part of the progress that the warm-up is.
_WARM_UP = 0.02


def search(
    *,
    ingredients: Mapping[str, str | Path],
    data: Mapping[str, str | Path],
    out: str | Path,
    threats: Sequence[str] = (),
    architecture: str | None = None,
    watch: Watch = lambda doing, done, total: None,
    **settings: Any,
) -> tuple[Answer, ...]:
    """Find the soups that are best on a few labelled images, and measure them on all others.

    Args:
        ingredients: Files of the checkpoints by name, in the order of the weights.
        data: Labelled images by name: known data sets, folders or archives; the first one is the main one.
        out: Folder of outcomes, soups and page; what it knows is not measured again.
        threats: Threats on the main data set, such as `"linf:4/255"`.
        architecture: Name of the network; by default what the ingredients' files say.
        watch: Called with what is being done, the work done and the work in all.
        settings: Further settings of `SearchPlan`, such as `shots=300` or `attack={"steps": 20}`.

    Returns:
        An answer for each objective: the best soups with honest numbers, and the file of the best one.

    Raises:
        As `run_plan`.
    """
    content: dict[str, Any] = {
        "ingredients": {name: str(path) for name, path in ingredients.items()},
        "data": {name: str(source) for name, source in data.items()},
        "threats": list(threats),
        **settings,
    }
    if architecture is not None:
        content["architecture"] = architecture
    plan = make_plan(with_architecture(content))
    return run_plan(plan, Path(out), watch=watch).answers


def with_architecture(content: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a plan; where they name no architecture, with that of the first ingredient whose file does.

    Raises:
        BadInput: an ingredient's file is damaged.
    """
    network, files = content.get("network", {}), content.get("ingredients")
    if "architecture" in content or not isinstance(network, Mapping) or "architecture" in network:
        return dict(content)
    for file in files.values() if isinstance(files, Mapping) else ():
        about = read_ingredient(Path(file)) if Path(file).is_file() else {}
        if "architecture" in about:
            known = {"architecture": about["architecture"], "options": about.get("options") or {}}
            # Options in the plan go first.
            return {**content, "network": {**known, **network}}
    return dict(content)


def run_plan(
    plan: SearchPlan,
    folder: Path,
    *,
    watch: Watch = lambda doing, done, total: None,
    say: Callable[[str], None] = lambda note: None,
    on_cost: Callable[[SearchCost], None] = lambda cost: None,
) -> SearchResult:
    """Search the soups of a plan, measure the chosen ones on held-out images, and write soups and page.

    What the folder knows is not measured again, so a search that was cut off goes on where it was, and another plan for
    the same ingredients uses what is there.

    Args:
        plan: The search.
        folder: Where outcomes, soups and the page are written.
        watch: Called with what is being done and which soup leads, the work done and the work in all.
        say: Called with notes on how to read the numbers.
        on_cost: Called with what the search will take, before the work.

    Raises:
        UnknownName: no such data set, shift, architecture, suite or file.
        BadInput: the ingredients cannot be mixed, a candidate has other classes, the data have unknown classes or too
            few images, the plan takes more time or disk than there is, or no soup keeps to a limit.
        Mismatch: an ingredient or a candidate does not fit its architecture.
        RunConflict: the folder is that of something else.
    """
    check_plan(plan)
    require_candidates(plan)
    states = read_ingredients(plan, say)
    files = plan.ingredients | {name: each.file for name, each in plan.candidates.items()}
    used = known_images(files, leave_out=plan.reading.leave_out_training_images, say=say)
    sets = open_sets(plan)
    objectives = objectives_of(plan, sets.parts)
    require_front(plan, objectives)
    model = network_of(plan, sets, states[0])
    candidates = open_candidates(plan, sets, model, say)
    check_folder(folder, fresh=True)
    with claimed(folder), Store(folder / STORE) as store:
        network = _network_note(plan, model, sets)
        _own(store, network)
        tasks = load_tasks(plan, sets, view_of(model), folder, watch, used, say)
        for note in sets.notes:
            say(f"note: {note}")
        soups = _soups(plan, sets, states, model, candidates, tasks, store, say)
        record = _begin(store, _record(plan, sets, objectives, network, states, candidates, tasks, soups))
        prices, cost = estimate_cost(record, soups, tasks, folder, part_of(watch, 0, _WARM_UP))
        on_cost(cost)
        require_affordable(cost, plan.time_limit, folder)
        meter = Meter(part_of(watch, _WARM_UP, 1), cost.seconds)
        known = _run(record, soups, prices, meter)
        result = answer_search(record, soups, tasks, known, prices, meter, folder)
        write_record(store, _answered(record, result))
        write_page(Results(store), folder / PAGE)
        meter.finish("done")
        return result


def check_plan(plan: SearchPlan) -> None:
    """Refuse a plan with names that are in no table, before any work.

    Raises:
        UnknownName: no such strategy, shift, suite or loss.
        BadInput: a suite needs a package that is not installed.
    """
    if plan.strategy not in STRATEGIES:
        raise UnknownName("strategy", plan.strategy, STRATEGIES)
    for shift in plan.shifts:
        if shift not in SHIFTS:
            raise UnknownName("shift", shift, SHIFTS)
    for suite in filter(None, (plan.attack.suite, plan.attack.confirm)):
        if suite not in SUITES:
            raise UnknownName("attack suite", suite, SUITES)
        for text in plan.threats:
            suite_attack(suite, Threat.parse(text).norm, loss=plan.attack.loss)


def _soups(
    plan: SearchPlan,
    sets: Sets,
    states: Sequence[State],
    model: PixelClassifier,
    candidates: Sequence[OpenCandidate],
    tasks: Mapping[str, OpenTask],
    store: Store,
    say: Callable[[str], None],
) -> SoupOutcomes:
    device = pick_device(None)
    require_images(candidates, tasks)

    def joint(weights: Weights) -> Ensemble:
        members = [state for state, weight in zip(states, weights, strict=True) if weight != 0]
        return Ensemble([network_of(plan, sets, state).to(device) for state in members]).eval()

    return SoupOutcomes(
        store,
        live_model(plan, model, states, tasks),
        joint,
        {each.note.fingerprint: partial(_on, device, each) for each in candidates},
        fingerprints_of(states),
        tasks,
        BatchSizes(store, model, plan.memory, say),
        attack=plan.attack,
        precision=plan.precision,
        policy=plan.batch_norm,
        seed=plan.seed,
        smoke=plan.smoke,
    )


def _on(device: torch.device, candidate: OpenCandidate) -> PixelClassifier:
    return candidate.build().to(device)


def _network_note(plan: SearchPlan, model: PixelClassifier, sets: Sets) -> NetworkNote:
    return NetworkNote(
        architecture=plan.network.architecture,
        options={
            # A list of a file and a tuple of Python are one option.
            name: str(list(value) if isinstance(value, tuple) else value)
            for name, value in sorted(plan.network.options.items())
        },
        classes=len(sets.classes),
        mean=model.constants.mean,
        std=model.constants.std,
        code=model.code,
    )


def _own(store: Store, network: NetworkNote) -> None:
    """Refuse a folder whose outcomes are those of something else, or of another network."""
    there = read_record(store)
    if there is None and store.measurements():
        raise RunConflict("the folder holds outcomes of something else, which these would blur: choose another --out")
    if there is not None and there.network != network:
        kept, ours = there.network.model_dump(), network.model_dump()
        unlike = "; ".join(f"{name}: {kept[name]}, not {ours[name]}" for name in kept if kept[name] != ours[name])
        raise RunConflict(f"the folder holds outcomes of another network ({unlike}): choose another --out")


def _record(
    plan: SearchPlan,
    sets: Sets,
    objectives: Sequence[SearchObjective],
    network: NetworkNote,
    states: Sequence[State],
    candidates: Sequence[OpenCandidate],
    tasks: Mapping[str, OpenTask],
    soups: SoupOutcomes,
) -> RunRecord:
    attacks, confirming = (
        {
            name: describe(attack)
            for name, task in tasks.items()
            if (attack := soups.attack(task.threat, confirm=confirm)) is not None
        }
        for confirm in (False, True)
    )
    marks = fingerprints_of(states)
    return RunRecord(
        plan=plan,
        network=network,
        ingredients=tuple(
            _ingredient_note(name, path, mark)
            for (name, path), mark in zip(plan.ingredients.items(), marks, strict=True)
        ),
        candidates=tuple(each.note for each in candidates),
        columns=plan.asked(sets.parts).columns,
        objectives=tuple(objectives),
        attacks=attacks,
        confirming=confirming if plan.attack.confirm else {},
        parts={
            name: PartsNote(
                selection=task.selection.fingerprint, test=None if task.others is None else task.others.fingerprint
            )
            for name, task in tasks.items()
            if task.threat is None
        },
        selection=tuple(chosen_ids(tasks).tolist()),
        space=len(points_of(plan)),
    )


def _ingredient_note(name: str, path: str, mark: str) -> IngredientNote:
    """An ingredient, with what its file says of its training."""
    about = read_ingredient(path)
    curve = [
        EpochNote(epoch=epoch, clean=each[0], robust=each[1]) for epoch, each in enumerate(about.get("scores", ()), 1)
    ]
    return IngredientNote(
        name=name,
        path=path if path.startswith(PREFIXES) else str(Path(path).resolve()),
        fingerprint=mark,
        threat=about.get("threat"),
        epoch=about.get("epoch"),
        epochs=about.get("epochs"),
        gradients=about.get("gradients"),
        curve=tuple(curve),
    )


def _begin(store: Store, record: RunRecord) -> RunRecord:
    """Keep the record; the answers of the same search stay until it has new ones."""
    there = read_record(store)
    if there is None or there.begun != record:
        write_record(store, record)
    return record


def _answered(record: RunRecord, result: SearchResult) -> RunRecord:
    """The record with what came of the search; files go by their names, so that the folder may be moved."""
    answers = tuple(answer._replace(soup=Path(answer.soup.name)) for answer in result.answers)
    return record.model_copy(update={"answers": answers, "front": result.front, "front_scope": result.front_scope})


def _run(record: RunRecord, soups: SoupOutcomes, prices: Prices, meter: Meter) -> KnownSoups:
    """Run the strategy: one for all objectives of a space, side by side."""
    plan, objectives = record.plan, record.objectives
    known = KnownSoups()
    first = objectives[0]
    names = list(plan.ingredients)
    leader, highest = "searching soups", 0.0

    def answer(proposal: Proposal) -> Measured:
        nonlocal leader, highest
        answers = {}
        for task in proposal.tasks:
            screening = proposal.screening and soups.screens(task)
            outcomes = soups.selection(proposal.weights, task, proposal.samples, screening=screening)
            answers[task] = outcomes
            whole = len(outcomes) == plan.shots
            known.keep(proposal.weights, task, outcomes, screening=screening, whole=whole)
            meter.advance(leader, prices.seconds(task, screening=proposal.screening) * len(outcomes))
        have = known.full.get(proposal.weights, {})
        counts = all(task in have for task in first.tasks) and first.allows(proposal.weights, names)
        if counts and (score := first.score(have)) > highest:
            highest = score
            leader = f"{first.name} {100 * score:.1f} %: {weights_in_words(proposal.weights, names)}"
        return answers

    run_strategy(_strategy(plan, objectives), answer)
    return known


def _strategy(plan: SearchPlan, objectives: Sequence[SearchObjective]) -> Strategy:
    """The plan's strategy for its objectives, those of some ingredients alone in a space of their own."""
    groups: dict[tuple[str, ...], list[SearchObjective]] = {}
    for objective in objectives:
        groups.setdefault(objective.ingredients, []).append(objective)
    strategy = STRATEGIES[plan.strategy]
    return together([strategy(points_of(plan, names), group, plan.shots) for names, group in groups.items()])
