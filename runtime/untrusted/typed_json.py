"""Read JSON from untrusted files: types and ranges are checked, and an invalid value is an error of one sentence.

    fields = read_json(path, CheckpointError, "model card")
    width = fields.whole("width", 1, 65536)

Every getter names the file and the key in its error, so no reader has to wrap TypeError, KeyError, OverflowError,
RecursionError and the like. ``plugins/files.py`` defines which text counts as JSON.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mutualformer.plugins.files import LARGEST_JSON
from mutualformer.plugins.files import parse_json as parse_json
from mutualformer.plugins.files import plain as plain
from mutualformer.runtime.files import read_regular, reason

_REQUIRED: Any = object()


def read_value(path: str | os.PathLike[str], error: type[Exception], what: str) -> Any:
    """Any JSON value in a regular file. ``what``: what it is expected to be, for the error."""
    file = Path(path)
    try:
        data = read_regular(file, LARGEST_JSON)
    except OSError as cause:
        raise error(f"{file}: cannot be read ({reason(cause)}), expected a {what}") from cause
    return parse_json(data, f"{file}, expected a {what}", error)


def read_json(path: str | os.PathLike[str], error: type[Exception], what: str) -> Fields:
    """The JSON object in a regular file. ``what``: what it is expected to be, for the error."""
    return Fields(read_value(path, error, what), os.fspath(path), error)


class Fields(Mapping[str, Any]):
    """A JSON object whose values are taken out by type. ``where`` and ``error``: the place and the class in errors.

    Getters take the key, what is allowed, and ``default`` for a key that may be missing; without one it must be there.
    """

    def __init__(self, data: Any, where: str, error: type[Exception]) -> None:
        self.where, self.error = where, error
        if not isinstance(data, Mapping):
            raise error(f"{where}: holds a {type(data).__name__}, expected a JSON object")
        self.data: Mapping[str, Any] = data

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def refuse(self, key: str, expected: str) -> Exception:
        """The error for the value of ``key``."""
        return self.error(f"{self.where}: {key} is {self.data.get(key)!r:.80}, expected {expected}")

    def _get(self, key: str, default: Any, fits: Callable[[Any], bool], expected: str) -> Any:
        if key not in self.data:
            if default is _REQUIRED:
                raise self.error(f"{self.where}: {key} is missing, expected {expected}")
            return default
        if not fits(self.data[key]):
            raise self.refuse(key, expected)
        return self.data[key]

    def text(
        self,
        key: str,
        default: str = _REQUIRED,
        one_of: Sequence[str] = (),
        longest: int = 4096,
        form: re.Pattern[str] | None = None,
    ) -> str:
        """A string, one of ``one_of`` where that is given; of ``form``, or equal to the default."""
        like = f" like {form.pattern}" if form is not None else ""
        expected = f"one of {', '.join(one_of)}" if one_of else f"text of at most {longest} characters{like}"

        def fits(value: Any) -> bool:
            known = isinstance(value, str) and len(value) <= longest and (not one_of or value in one_of)
            return known and (form is None or value == default or form.fullmatch(value) is not None)

        return str(self._get(key, default, fits, expected))

    def whole(self, key: str, low: int, high: int, default: int = _REQUIRED) -> int:
        """A whole number in [low, high]; 3.0 and true are refused."""
        return int(self._get(key, default, *_whole(low, high)))

    def number(self, key: str, low: float, high: float, default: float = _REQUIRED) -> float:
        """A finite number in [low, high]."""
        return float(self._get(key, default, *_number(low, high)))

    def flag(self, key: str, default: bool = _REQUIRED) -> bool:
        """The JSON boolean at ``key``; anything else raises ``error``."""
        return bool(self._get(key, default, lambda value: isinstance(value, bool), "true or false"))

    def wholes(
        self, key: str, count: int | None, low: int, high: int, default: tuple[int, ...] = _REQUIRED
    ) -> tuple[int, ...]:
        """``count`` whole numbers (None = any number of them)."""
        return tuple(self._list(key, count, *_whole(low, high), default))

    def numbers(
        self, key: str, count: int | None, low: float, high: float, default: tuple[float, ...] = _REQUIRED
    ) -> tuple[float, ...]:
        """``count`` finite numbers (None = any number of them)."""
        return tuple(map(float, self._list(key, count, *_number(low, high), default)))

    def texts(self, key: str, default: tuple[str, ...] = _REQUIRED) -> tuple[str, ...]:
        """The list of strings at ``key``; anything else raises ``error``."""
        return tuple(self._list(key, None, lambda value: isinstance(value, str), "text", default))

    def objects(self, key: str, default: Sequence[Mapping[str, Any]] = _REQUIRED) -> tuple[Mapping[str, Any], ...]:
        """A list of JSON objects."""
        return tuple(self._list(key, None, lambda value: isinstance(value, Mapping), "a JSON object", default))

    def fields(self, key: str, default: Mapping[str, Any] = _REQUIRED) -> Fields:
        """A JSON object."""
        value = self._get(key, default, lambda value: isinstance(value, Mapping), "a JSON object")
        return Fields(value, f"{self.where}, {key}", self.error)

    def only(self, *keys: str) -> None:
        """Refuse keys that are none of ``keys``."""
        unknown = sorted(set(self.data) - set(keys))
        if unknown:
            raise self.error(f"{self.where}: has unknown keys {', '.join(unknown)[:200]}; is it from a newer version?")

    def _list(
        self, key: str, count: int | None, fits: Callable[[Any], bool], each: str, default: Sequence[Any]
    ) -> Sequence[Any]:
        expected = f"a list of {count}, each {each}" if count is not None else f"a list, each {each}"

        def whole_list(value: Any) -> bool:
            return isinstance(value, list) and (count is None or len(value) == count) and all(map(fits, value))

        values: Sequence[Any] = self._get(key, default, whole_list, expected)
        return values


def _whole(low: int, high: int) -> tuple[Callable[[Any], bool], str]:
    """The test of a value, and what it expects."""
    return lambda value: type(value) is int and low <= value <= high, f"a whole number from {low} to {high}"


def _number(low: float, high: float) -> tuple[Callable[[Any], bool], str]:
    """As :func:`_whole`. Compared before converting: a whole number of 400 digits fits no float."""
    return lambda value: type(value) in (int, float) and low <= value <= high, f"a number from {low:g} to {high:g}"
