"""From checkpoints to one model: a classifier, or an ensemble of several; and what tells it from others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from seasoning.checkpoints.class_names import agreed_names, carried_names
from seasoning.checkpoints.constants import Constants, settled
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import is_there, load_ingredient, parted
from seasoning.checkpoints.provenance import constants_of, images_used
from seasoning.commands.data import build_for, seen_by, speaks_of, view_of
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.sections import NetworkSection
from seasoning.data import Samples
from seasoning.data.decoding import Photo
from seasoning.data.open import Opened, ReadOptions
from seasoning.data.sources import SOURCES, Used, usual_parts
from seasoning.errors import BadInput, Mismatch
from seasoning.models import PixelClassifier, require_architecture
from seasoning.outcomes import ModelKey
from seasoning.soup import Ensemble


__all__ = ["Joined", "Member", "build_member", "identity_of", "join", "reading_of", "require_members"]


class Member(NamedTuple):
    """A checkpoint, as `load_ingredient` reads it, and the network that it is put into."""

    source: str | Path
    network: NetworkSection


class Joined(NamedTuple):
    """What is measured as one model: a classifier, or the ensemble of several.

    Args:
        model: Images in [0, 1] to logits.
        key: Its identity, which names its members.
        members: The classifiers that it is made of.
    """

    model: nn.Module
    key: ModelKey
    members: tuple[PixelClassifier, ...]

    @property
    def photo(self) -> Photo:
        """The view of photographs that it asks for."""
        return view_of(self.members[0])

    def seen(self, samples: Samples) -> Samples:
        """Samples with the channels that it takes.

        Raises:
            BadInput: a member does not take such images.
        """
        for member in self.members:
            samples = seen_by(member, samples)
        return samples


def require_members(members: Sequence[Member]) -> None:
    """Refuse architectures and checkpoints that there are not.

    Raises:
        UnknownName: no such architecture or file.
    """
    for member in members:
        require_architecture(member.network.architecture, member.network.options)
        if not is_there(member.source):
            parted(member.source)  # says what is near


def reading_of(members: Sequence[Member], spec: EvaluateSpec) -> ReadOptions:
    """How images are read; parts of known data sets leave out what any checkpoint was trained on.

    Raises:
        Mismatch: two checkpoints name the classes in two orders.
    """
    reading = spec.reading
    said = [images_used(member.source) for member in members]
    known = {name for counts in said for name in counts if name in SOURCES}
    used = {
        name: max((Used(*counts[name]) if name in counts else usual_parts(name) for counts in said), key=sum)
        for name in known
    }
    return ReadOptions(
        split=spec.split,
        transform=reading.transform,
        workers=reading.workers,
        cache=None if reading.cache is None else Path(reading.cache),
        skip_damaged=reading.skip_damaged,
        partial=reading.partial,
        class_names=reading.classes or None,
        class_order=reading.class_order,
        carried=agreed_names((str(member.source), carried_names(member.source)) for member in members),
        used=used,
    )


def build_member(
    member: Member, outputs: int, channels: int, usual: Constants | None = None
) -> tuple[PixelClassifier, str]:
    """The classifier of a checkpoint and its identity; it normalizes images as the checkpoint or its user says.

    Args:
        member: The checkpoint and its network.
        outputs: Logits that the data want.
        channels: Of the images.
        usual: By what images are normalized where neither says so; by default as the architecture does.

    Raises:
        Mismatch: it does not fit the architecture or the data, or was trained with another normalization.
    """
    source, network = member
    said = constants_of([source]) if speaks_of(source, network.architecture) else None
    given = None if network.mean is None or network.std is None else Constants(network.mean, network.std)
    model = build_for(
        network.architecture,
        network.options,
        outputs=outputs,
        channels=channels,
        state=load_ingredient(source),
        constants=settled(said, given, str(source)) or usual,
    )
    return model, identity_of(model, network.architecture, network.options)


def join(members: Sequence[Member], opened: Sequence[Opened]) -> Joined:
    """One model of all members, for data.

    Args:
        members: One, or those of an ensemble.
        opened: The data.

    Raises:
        BadInput: two members are one model, or see photographs each in a view of its own.
        Mismatch: as `build_member`.
    """
    first = opened[0]
    try:
        built = [build_member(member, first.outputs, first.channels) for member in members]
    except Mismatch as error:
        # The number of classes may be wrong since the data were taken for something else.
        raise Mismatch("\n".join(filter(None, (str(error), first.remark)))) from error
    if len(built) == 1:
        ((model, mark),) = built
        return Joined(model, ModelKey.of([mark], [1.0]), (model,))
    marks = [mark for _, mark in built]
    twice = next((number for number, mark in enumerate(marks) if mark in marks[:number]), None)
    if twice is not None:
        one, other = members[marks.index(marks[twice])].source, members[twice].source
        raise BadInput(f"{one} and {other} are one model: an ensemble is of different ones, give each once")
    _require_one_view([model for model, _ in built], members, opened)
    # In one order, however they are given: the same model has the same bits.
    order = sorted(range(len(built)), key=marks.__getitem__)
    models = tuple(built[number][0] for number in order)
    key = ModelKey.of([marks[number] for number in order], [1 / len(order)] * len(order), "ensemble")
    return Joined(Ensemble(models).eval(), key, models)


def identity_of(model: PixelClassifier, architecture: str, options: Mapping[str, Any] | None) -> str:
    """What tells this model from others: its parameters, its normalization, and what they are put into."""
    built = f"{architecture} {sorted((options or {}).items())}".encode()
    facts = {"mean": model.mean, "std": model.std, "architecture": _bytes(built), "code": _bytes(model.code.encode())}
    # A mark before each name keeps the facts apart from the network's own tensors.
    return fingerprint({**model.network.state_dict(), **{f" {name}": fact for name, fact in facts.items()}})


def _require_one_view(models: Sequence[PixelClassifier], members: Sequence[Member], opened: Sequence[Opened]) -> None:
    """Refuse members that would have to see different images of one photograph."""
    photos = [view_of(model) for model in models]
    if len({model.channels for model in models}) > 1:
        raise BadInput("some members of the ensemble take grey images and some take colour: measure them apart")
    for each in {one.column: one for one in opened}.values():
        for member, photo in zip(members[1:], photos[1:], strict=True):
            views = [each.view(photos[0]), each.view(photo)]
            # The colour of a border is no part of views without one.
            plain = [
                replace(view, mean=()) if isinstance(view, Photo) and view.crop_mode != "border" else view
                for view in views
            ]
            if plain[0] != plain[1]:
                raise BadInput(
                    f"{members[0].source} and {member.source} see the photographs of {each.name} in two views "
                    f"({views[0]} and {views[1]}): bring the images to one size and say --transform as-is"
                )


def _bytes(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
