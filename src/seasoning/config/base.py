"""From text to frozen values: one base of specs, one reader of TOML, one `--set`; all mistakes are listed together."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from seasoning.errors import BadInput, SeasoningError, UnknownName
from seasoning.threat import Threat


__all__ = [
    "Count",
    "Fraction",
    "Positive",
    "Seed",
    "Spec",
    "Threats",
    "at_todays_keys",
    "keys_of",
    "parse_value",
    "read_spec",
    "read_toml",
    "resolve",
    "with_settings",
]

S = TypeVar("S", bound="Spec")

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**62)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Spec(BaseModel):
    """Settings as a frozen value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    # Keys of an earlier version and those of today, with dots; the earlier ones are read for one release.
    moved: ClassVar[Mapping[str, str]] = {}


def _threats(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(str(Threat.parse(text)) for text in texts))
    except SeasoningError as error:
        # Pydantic collects only ValueErrors.
        raise ValueError(str(error)) from error


# Texts of threats, each once and in the form that `str(Threat)` gives.
Threats = Annotated[tuple[str, ...], AfterValidator(_threats)]


def read_toml(path: Path, expected: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: The file.
        expected: What it should be, and what else can be done, for the error.

    Raises:
        BadInput: it is not there, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path} is not there: {expected}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no TOML ({error}): {expected}") from error


def with_settings(content: Mapping[str, Any], settings: Sequence[str], kind: type[Spec]) -> dict[str, Any]:
    """Nested settings with others as `key=value` in their stead, such as `optimizer.rate=0.05` or `threats=["l2:1"]`.

    Values are read as TOML, and as plain text where they are none. Keys of an earlier version become those of today.

    Args:
        content: The settings.
        settings: What replaces some of them.
        kind: The spec that they are for.

    Raises:
        BadInput: a setting that is not `key=value`, or whose key leads into a value; or one under both its keys.
    """
    changed = at_todays_keys(content, kind)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise BadInput(f"setting {setting!r}: expected key=value, such as seed=1")
        *path, last = _todays_key(key, kind).split(".")
        section = changed
        for name in path:
            below = section.get(name)
            if below is not None and not isinstance(below, Mapping):
                raise BadInput(f"setting {setting!r}: {name} holds a value and no further settings")
            section[name] = dict(below or {})
            section = section[name]
        section[last] = parse_value(text)
    return changed


def at_todays_keys(content: Mapping[str, Any], kind: type[Spec]) -> dict[str, Any]:
    """The same settings of a spec, those under keys of an earlier version under the keys of today.

    Raises:
        BadInput: a setting under both its keys.
    """
    changed = {name: dict(value) if isinstance(value, Mapping) else value for name, value in content.items()}
    for old, new in kind.moved.items():
        *above, name = old.split(".")
        section, key = new.split(".")
        home = changed.get(above[0]) if above else changed
        if not isinstance(home, dict) or name not in home or not isinstance(changed.setdefault(section, {}), dict):
            continue
        if key in changed[section]:
            raise BadInput(f"settings {old} and {new} are the same one: keep {new}")
        changed[section][key] = home.pop(name)
    return changed


def _todays_key(key: str, kind: type[Spec]) -> str:
    """The key of a setting today, also of one below a key that has moved: `options.width`."""
    for old, new in kind.moved.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def parse_value(text: str) -> Any:
    """What a setting says: TOML, or plain text where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def resolve(settings: Sequence[str], spec: S) -> S:
    """A spec with `key=value` settings applied.

    Raises:
        As `with_settings` and `read_spec`.
    """
    return read_spec(with_settings(spec.model_dump(), settings, type(spec)), type(spec))


def read_spec(content: Mapping[str, Any], kind: type[S]) -> S:
    """A spec from nested settings, such as a TOML file holds.

    Raises:
        UnknownName: a key that such a spec has not.
        BadInput: several unknown keys, missing ones, or values out of range; all are listed.
    """
    try:
        return kind.model_validate(at_todays_keys(content, kind))
    except ValidationError as error:
        found = [complaint for each in error.errors() for complaint in _complaints(each, kind)]
        if len(found) == 1 and isinstance(found[0], UnknownName):
            raise found[0] from error
        raise BadInput("\n".join(map(str, found))) from error


def keys_of(kind: type[Spec], prefix: str = "") -> Iterator[str]:
    """The settings of a spec, those of its sections with dots: `optimizer.rate`."""
    for name, field in kind.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            yield from keys_of(section, f"{prefix}{name}.")
        else:
            yield prefix + name


def _section(annotation: Any) -> type[Spec] | None:
    """The spec that an annotation such as `AttackSection | None` names; those in lists are none of a dotted key."""
    if get_origin(annotation) in (tuple, list, dict):
        return None
    return next((each for each in (annotation, *get_args(annotation)) if _is_spec(each)), None)


def _is_spec(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Spec)


def _complaints(error: Mapping[str, Any], kind: type[Spec]) -> list[UnknownName | str]:
    """One of pydantic's errors in words: which setting, what was given, what is wrong."""
    message, location = str(error["msg"]).removeprefix("Value error, "), error["loc"]
    if not location:
        return [message]
    key = ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        # Of an unknown section, its settings are listed: they show best what was meant.
        return [UnknownName("setting", each, _beside(location, kind)) for each in _flat(key, error["input"])]
    if error["type"] == "missing":
        return [f"setting {key} is missing"]
    if error["type"] == "value_error" and isinstance(error["input"], Mapping):
        return [f"settings of {key}: {message}"]
    return [f"setting {key}={error['input']!r}: {message}"]


def _flat(key: str, value: Any) -> list[str]:
    """The keys of nested settings below a key; the key itself where there are none."""
    if not isinstance(value, Mapping) or not value:
        return [key]
    return [each for name, below in value.items() for each in _flat(f"{key}.{name}", below)]


def _beside(location: Sequence[Any], kind: type[Spec]) -> list[str]:
    """The settings that an unknown one may be meant for: all of the spec, or those of the list's entry it stands in."""
    *path, _ = location
    fields = kind.model_fields
    prefix = ""
    for name in path:
        prefix += f"{name}."
        if isinstance(name, int):
            continue
        annotation = fields[name].annotation if name in fields else None
        inner = [annotation, *get_args(annotation)]
        section = next((each for each in inner if _is_spec(each)), None)
        if section is None:
            break
        if _section(annotation) is None:
            return [f"{prefix}{location[len(path) - 1]}.{key}" for key in section.model_fields]
        fields = section.model_fields
    return list(keys_of(kind))
