"""Values from JSON and YAML against the types that are declared for them."""

import dataclasses
import types
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from crosspt.config.files import did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def build(config: type[Config], values: Any, origin: object) -> Config:
    """A dataclass from its fields. Raises ValueError that begins with the origin where something does not fit."""
    fields = dataclasses.fields(config)
    check_keys(origin, values, [field.name for field in fields])
    hints = get_type_hints(config)
    required = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    check_types(origin, values, {name: hint for name, hint in hints.items() if name in values or name in required})
    try:
        return config(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{origin}: {error}") from None


def pick(config: type[Config], values: Mapping[str, Any]) -> Config:
    """A dataclass from those of the values that are its fields."""
    names = [field.name for field in dataclasses.fields(config)]
    return config(**{name: values[name] for name in names if name in values})


def check_keys(origin: object, values: Any, known: Collection[str]) -> None:
    """Raise ValueError that begins with the origin unless the values have keys, all of them known."""
    _check_mapping(origin, values)
    for key in values:
        if key not in known:
            raise ValueError(f"{origin}: unknown key {key!r}{did_you_mean(str(key), known)}")


def check_types(origin: object, values: Any, hints: Mapping[str, Any]) -> None:
    """Raise ValueError that begins with the origin unless every key of the hints is there, with a value of its type."""
    _check_mapping(origin, values)
    for key, hint in hints.items():
        if key not in values:
            raise ValueError(f"{origin}: the key {key!r} is missing")
        if not fits(values[key], hint):
            raise ValueError(f"{origin}: {key} must be {describe(hint)}, got {_short(values[key])}")


def _check_mapping(origin: object, values: Any) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(f"{origin}: must hold keys and values, got {_short(values)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; a bool is no number, an integer may be a float."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is list:
        return isinstance(value, list | tuple) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if dataclasses.is_dataclass(hint):
        return isinstance(value, hint) if isinstance(hint, type) else False
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def describe(hint: Any) -> str:
    """A type as a user would say it."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType, Literal):
        return " or ".join(part if isinstance(part, str) else describe(part) for part in parts)
    if hint is types.NoneType:
        return "null"
    return str(hint).replace("typing.", "") if parts else str(getattr(hint, "__name__", hint))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
