"""What a run is made of, as frozen values; every unknown key or impossible value is named before any work starts."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from seasoning.errors import BadInput, SeasoningError, UnknownName
from seasoning.threat import Threat


__all__ = [
    "DataSpec",
    "EvaluationSpec",
    "RunSpec",
    "Spec",
    "TrainingSpec",
    "complaint",
    "keys_of",
    "parse_value",
    "read_spec",
    "resolve",
]

S = TypeVar("S", bound="Spec")

Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**62)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Spec(BaseModel):
    """Settings as a frozen value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSpec(Spec):
    """The data set, the sizes of its four parts, and its shifts."""

    source: str = Field(default="digits", description="Name of the data set.")
    train: Count = Field(default=900, description="Images to train on.")
    validation: Count = Field(default=200, description="Images that choose checkpoints.")
    selection: Count = Field(default=300, description="Images that choose soups.")
    test: Count = Field(default=397, description="Images for the final numbers; nothing is chosen on them.")
    shifts: tuple[str, ...] = Field(
        default=("noise", "blur", "contrast", "rotation", "occlusion"), description="Natural shifts to measure."
    )

    def sizes(self) -> dict[str, int]:
        """Number of images of each part, in the order in which they are drawn."""
        return {part: getattr(self, part) for part in ("train", "validation", "selection", "test")}


class TrainingSpec(Spec):
    """How the ingredients are trained: one from scratch, the others as its fine-tuned copies."""

    architecture: str = Field(default="resnet_small", description="Name of the network.")
    attack_steps: Count = Field(default=10, description="AutoPGD steps of a training attack.")
    batch_size: Count = Field(default=64, description="Images in a step.")
    warmup_nominal: Epochs = Field(default=3, description="Epochs on clean images before the base meets its threat.")
    warmup_half: Epochs = Field(default=2, description="Epochs at half the radius after them.")
    base_epochs: Count = Field(default=15, description="Epochs of the base at its full radius.")
    base_rate: Rate = Field(default=0.1, description="Peak learning rate of the base.")
    finetune_epochs: Count = Field(default=4, description="Epochs of a fine-tune to another threat.")
    finetune_rate: Rate = Field(default=0.05, description="Peak learning rate of such a fine-tune.")
    nominal_epochs: Count = Field(default=10, description="Epochs of the nominal fine-tune.")
    nominal_rate: Rate = Field(default=0.1, description="Peak learning rate of the nominal fine-tune.")


class EvaluationSpec(Spec):
    """How models are attacked when they are measured."""

    suite: str = Field(default="default", description="Named protocol: which attack stands for each norm.")
    confirm: str = Field(default="thorough", description="Stronger protocol for the ingredients and the union soup.")
    steps: Count | None = Field(default=None, description="Steps of every attack instead of the protocol's own.")


class RunSpec(Spec):
    """A whole run: train ingredients, mix, search, measure, report."""

    seed: Annotated[int, Field(ge=0, le=2**62)] = Field(default=0, description="Seed of training and random starts.")
    smoke: bool = Field(default=False, description="Whether the run only tries the machinery; its outcomes are marked.")
    threats: tuple[str, ...] = Field(
        default=("linf:0.19", "l2:0.7", "l1:2"), description="One threat of each norm, the base's first."
    )
    grid_parts: Annotated[int, Field(ge=1)] = Field(default=8, description="Weights are multiples of 1 / grid_parts.")
    data: DataSpec = DataSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    @field_validator("threats")
    @classmethod
    def _three_norms(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            threats = [Threat.parse(text) for text in texts]
        except SeasoningError as error:
            # Pydantic collects only ValueErrors.
            raise ValueError(str(error)) from error
        if len(threats) != 3 or len({threat.norm for threat in threats}) != 3:
            raise ValueError(f"expected one threat of each norm (linf, l2, l1), got {', '.join(texts)}")
        return tuple(str(threat) for threat in threats)

    def shrunk(self) -> "RunSpec":
        """The same run with so few images, epochs and steps that it takes seconds; marked as a smoke run."""
        data = self.data.model_copy(update={"train": 120, "validation": 40, "selection": 40, "test": 50})
        epochs = {"warmup_nominal": 1, "warmup_half": 1, "base_epochs": 1, "finetune_epochs": 1, "nominal_epochs": 1}
        training = self.training.model_copy(update={**epochs, "attack_steps": 2})
        evaluation = self.evaluation.model_copy(update={"steps": 4})
        changes = {"smoke": True, "grid_parts": 2, "data": data, "training": training, "evaluation": evaluation}
        return self.model_copy(update=changes)


def resolve(settings: Sequence[str], spec: S) -> S:
    """A spec with `key=value` settings applied, such as `training.base_epochs=1` or `threats=["linf:0.1", …]`.

    Values are read as TOML, and as plain text where they are none.

    Raises:
        UnknownName: a key that the spec has not.
        BadInput: a setting that is not `key=value`, several unknown keys, or values out of range; all are listed.
    """
    content = spec.model_dump()
    known, unknown = list(keys_of(type(spec))), list[UnknownName]()
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise BadInput(f"setting {setting!r}: expected key=value, such as {known[0]}=1")
        *path, last = key.split(".")
        if not _known(key, known) or not isinstance(section := _section(content, path), dict):
            unknown.append(UnknownName("setting", key, known))
            continue
        section[last] = parse_value(text)
    return _validated(content, type(spec), unknown)


def read_spec(content: Mapping[str, Any], kind: type[S]) -> S:
    """A spec from nested settings, such as a TOML file holds.

    Raises:
        UnknownName: a key that such a spec has not.
        BadInput: several unknown keys, missing ones, or values out of range; all are listed.
    """
    known = list(keys_of(kind))
    sections = {key.rpartition(".")[0] for key in known}
    strange = [key for key in _keys(content) if not _known(key, known) and key not in sections]
    return _validated(content, kind, [UnknownName("setting", key, known) for key in strange])


def keys_of(kind: type[Spec], prefix: str = "") -> Iterator[str]:
    """The settings of a spec, those of its sections with dots: `training.base_epochs`."""
    for name, field in kind.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        section = next((each for each in kinds if isinstance(each, type) and issubclass(each, Spec)), None)
        if section is not None:
            yield from keys_of(section, f"{prefix}{name}.")
        else:
            yield prefix + name


def _known(key: str, known: Sequence[str]) -> bool:
    """Whether a key is a setting, or an entry of one that is a table, such as the options of an architecture."""
    return any(key == each or key.startswith(f"{each}.") for each in known)


def _section(content: dict[str, Any], path: Sequence[str]) -> Any:
    """The part of nested settings at a path; a section that was left out is made."""
    section: Any = content
    for name in path:
        if not isinstance(section, dict):
            return None
        section[name] = {} if section.get(name) is None else section[name]
        section = section[name]
    return section


def _validated(content: Mapping[str, Any], kind: type[S], unknown: Sequence[UnknownName]) -> S:
    """The spec, unless something is wrong with it; then everything that is."""
    try:
        made = kind.model_validate(content)
    except ValidationError as error:
        others = [each for each in error.errors() if each["type"] != "extra_forbidden"]
        if others or not unknown:
            raise BadInput("\n".join([*map(str, unknown), *map(complaint, others or error.errors())])) from error
    if len(unknown) == 1:
        raise unknown[0]
    if unknown:
        raise BadInput("\n".join(map(str, unknown)))
    return made


def complaint(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in words: which setting, what was given, what is wrong."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"setting {place} is missing"
    return f"setting {place}={error['input']!r}: {message}"


def _keys(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def parse_value(text: str) -> Any:
    """What a setting says: TOML, or plain text where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
