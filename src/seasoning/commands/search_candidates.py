"""The candidates of a search: other models of the same classes, which are measured beside the soups."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from seasoning.checkpoints.class_names import agreed_names, carried_names, letters, some
from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.load import is_there, parted
from seasoning.checkpoints.provenance import read_ingredient
from seasoning.commands.classifiers import Member, build_member
from seasoning.commands.data import view_of
from seasoning.commands.search_data import OpenTask, Sets
from seasoning.config.run_record import CandidateNote
from seasoning.config.search import SearchPlan
from seasoning.config.sections import CandidateSection, NetworkSection
from seasoning.errors import BadInput, Mismatch, SeasoningError
from seasoning.models import PixelClassifier, require_architecture
from seasoning.models.probe import require_takes


__all__ = ["OpenCandidate", "open_candidates", "require_candidates", "require_images"]


class OpenCandidate(NamedTuple):
    """A candidate: what is noted of it, and what makes it."""

    note: CandidateNote
    build: Callable[[], PixelClassifier]


def require_candidates(plan: SearchPlan) -> None:
    """Refuse candidates whose file or architecture there is not.

    Raises:
        UnknownName: no such architecture.
        BadInput: a file is not there.
    """
    for name, section in plan.candidates.items():
        try:
            if not is_there(section.file):
                parted(section.file)  # says what is near
        except SeasoningError as error:
            raise BadInput(f"candidate {name!r}: {error}") from error
        if section.architecture is not None:
            require_architecture(section.architecture, section.options)


def open_candidates(
    plan: SearchPlan, sets: Sets, model: PixelClassifier, say: Callable[[str], None]
) -> list[OpenCandidate]:
    """The candidates of a plan, each built once to see that it fits.

    Args:
        plan: The search.
        sets: Its data.
        model: The network of the soups, whose images the candidates see, and by which images are normalized for one of
            that architecture that says nothing else.
        say: Called with what a reader of the numbers has to know.

    Raises:
        UnknownName: no such architecture.
        BadInput: it names other classes, or the same ones in another order.
        Mismatch: it does not fit its architecture, or has another number of classes.
    """
    return [_opened(name, section, plan, sets, model, say) for name, section in plan.candidates.items()]


def require_images(candidates: Sequence[OpenCandidate], tasks: Mapping[str, OpenTask]) -> None:
    """Refuse candidates that do not take the images.

    Raises:
        BadInput: saying which.
    """
    by_shape = {task.selection.samples.x.shape[1:]: task.selection.samples for task in tasks.values()}
    for candidate in candidates:
        built = candidate.build()
        for samples in by_shape.values():
            require_takes(built, samples.images(slice(0, 1)), f"candidate {candidate.note.name!r}", "leave it out")


def _opened(
    name: str,
    section: CandidateSection,
    plan: SearchPlan,
    sets: Sets,
    model: PixelClassifier,
    say: Callable[[str], None],
) -> OpenCandidate:
    _require_classes(name, section.file, plan, sets)
    network = _network(section, plan)
    own = network.architecture == plan.network.architecture
    member = Member(section.file, network)

    def build() -> PixelClassifier:
        return build_member(member, len(sets.classes), sets.channels, model.constants if own else None)[0]

    try:
        built, mark = build_member(member, len(sets.classes), sets.channels, model.constants if own else None)
    except Mismatch as error:
        raise Mismatch(
            f"candidate {name!r} ({section.file}) is no {network.architecture} of {len(sets.classes)} classes: {error}"
            "; say what it is by its architecture"
        ) from error
    photos = {view_of(each) for each in (model, built)}
    if any(len({repr(one.view(photo)) for photo in photos}) > 1 for one in sets.all().values()):
        say(f"note: candidate {name}: asks for another view of photographs, and is measured on that of the ingredients")
    path = section.file if section.file.startswith(PREFIXES) else str(Path(section.file).resolve())
    note = CandidateNote(name=name, path=path, architecture=network.architecture, fingerprint=mark)
    return OpenCandidate(note, build)


def _network(section: CandidateSection, plan: SearchPlan) -> NetworkSection:
    """What a candidate is put into: what the plan says of it, else its file, else that of the ingredients."""
    constants = {"mean": section.mean, "std": section.std}
    if section.architecture is not None:
        return NetworkSection(architecture=section.architecture, options=section.options, **constants)
    about = read_ingredient(section.file)
    known = about if "architecture" in about else plan.network.model_dump()
    options = {**(known.get("options") or {}), **section.options}
    return NetworkSection(architecture=known["architecture"], options=options, **constants)


def _require_classes(name: str, file: str, plan: SearchPlan, sets: Sets) -> None:
    """Refuse a candidate that names its classes otherwise than the ingredients, or where they are silent the data."""
    said = carried_names(file)
    if said is None:
        return
    ingredients = () if plan.reading.classes else plan.ingredients.items()
    carried = agreed_names((each, carried_names(path)) for each, path in ingredients)
    known = carried or sets.classes
    mine, theirs = ([letters(name) for name in names] for names in (said, known))
    # Classes that the user names by other words are the user's to know.
    if mine == theirs or (plan.reading.classes and not set(mine) & set(theirs)):
        return
    whose = "the ingredients name them" if carried else "the data has them"
    what = "in another order" if sorted(mine) == sorted(theirs) else "otherwise"
    raise BadInput(
        f"candidate {name!r} names its {len(said)} classes {what} ({some(said)}) than {whose} ({some(known)}): leave "
        "it out, or if they are the same classes name them all by `reading.classes`"
    )
