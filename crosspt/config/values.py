"""Values from JSON and YAML against the types that are declared for them."""

import types
from typing import Any, Literal, Union, get_args, get_origin


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML is of a type; a bool is no number, an integer may be a float."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is list:
        return isinstance(value, list) and all(fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def describe(hint: Any) -> str:
    """A type as a user would say it."""
    if get_origin(hint) in (Union, types.UnionType, Literal):
        return " or ".join(part if isinstance(part, str) else describe(part) for part in get_args(hint))
    return "null" if hint is types.NoneType else str(getattr(hint, "__name__", hint) if not get_args(hint) else hint)
