"""What one value of a file of rows means, whichever format it comes from."""

import math
import unicodedata
from decimal import Decimal
from typing import Any

_LONGEST = 120


def is_missing(value: object) -> bool:
    """Tells whether a value is none: null, NaN or blank text, as the formats write it."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value: object) -> str | None:
    """Returns a text as it is, a number as a CSV file writes it, "" for what is missing, None for anything else."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    return str(value) if isinstance(value, int | float | Decimal) else None


def as_texts(value: object) -> tuple[str, ...] | None:
    """Returns the texts that a value is, one or a list of them, stripped; None where there is none or one is blank."""
    texts = [as_text(item) for item in (value if isinstance(value, list | tuple) else [value])]
    if not texts or any(text is None or not text.strip() or not is_unicode(text) for text in texts):
        return None
    return tuple(text.strip() for text in texts if text is not None)


def is_unicode(text: str) -> bool:
    """Tells whether a text has no lone surrogates, which JSON can spell and nothing else can hold."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def as_number(value: Any) -> float | None:
    """Returns the number that a value is, also as text, or None: 1, 1.0, true, "1", " 1.0 " and "True" are one."""
    if isinstance(value, str):
        truth = {"true": 1.0, "false": 0.0}.get(value.strip().lower())
        if truth is not None or "_" in value:
            return truth
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def same_text(text: str) -> str:
    """Returns a text in the form in which texts are compared: compatibility characters and white space made plain.

    Tokenizers map texts to this form (NFKC) or leave them; either way what they decode compares equal.
    """
    return " ".join(unicodedata.normalize("NFKC", text).split())


def show(value: object) -> str:
    """Returns a value on one line for an error message, a long one cut."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def one_line(text: object) -> str:
    """Returns a text on one line for an error message, a long one cut."""
    line = " ".join(str(text).split())
    return line if len(line) <= 3 * _LONGEST else f"{line[: 3 * _LONGEST]}..."
