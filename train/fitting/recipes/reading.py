"""TOML and ``--set recipe.KEY=VALUE`` to a :class:`Recipe`, every key and type checked; and a recipe to TOML."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from mutualformer.train.fitting.recipes.recipe import Recipe, Stage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
LIKE = "like"  # the recipe that a file's keys change
T = TypeVar("T")

_EXPECTED = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
    tuple[float, ...]: "a list of numbers",
    tuple[Stage, ...]: "a list of [share, side] or [share, smallest side, largest side]",
}


def names() -> list[str]:
    """The shipped recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_stage(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) not in (2, 3) or not all(map(_number, value)):
        return False
    return all(isinstance(side, int) for side in value[1:])


def _typed(kind: Any, value: Any, key: str) -> Any:
    """``value`` of a TOML or JSON document as ``kind``. Raises ValueError naming ``key``."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} is {value!r}, expected a table")
        return record(kind, value, f"{key}.")
    listed = isinstance(value, (list, tuple))
    fits = {
        int: isinstance(value, int) and not isinstance(value, bool),
        float: _number(value),
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        tuple[str, ...]: listed and all(isinstance(item, str) for item in value),
        tuple[float, ...]: listed and all(map(_number, value)),
        tuple[Stage, ...]: listed and all(map(_is_stage, value)),
    }[kind]
    if not fits:
        raise ValueError(f"{key} is {value!r}, expected {_EXPECTED[kind]}")
    if kind is float:
        return float(value)
    if kind == tuple[Stage, ...]:
        return tuple((float(start), *sides) for start, *sides in value)
    return tuple(value) if listed else value


def record(kind: type[T], values: Mapping[str, Any], prefix: str = "", base: T | None = None) -> T:
    """``values`` as a ``kind``; keys that are not there keep those of ``base``, else the defaults."""
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{prefix}{unknown[0]} is unknown, expected one of {', '.join(prefix + key for key in hints)}")
    given = {}
    for key, value in values.items():
        now = getattr(base, key, None)
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping) and now is not None:
            given[key] = record(hints[key], value, f"{prefix}{key}.", now)
        else:
            given[key] = _typed(hints[key], value, prefix + key)
    if base is not None:
        return dataclasses.replace(base, **given)  # type: ignore[type-var]
    missing = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.name not in given and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{prefix}{missing[0]} is missing")
    return kind(**given)


def _read(path: Path, seen: tuple[Path, ...] = ()) -> Recipe:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not TOML ({error})") from error
    like = values.pop(LIKE, None)
    if like is not None and (not isinstance(like, str) or like not in names()):
        raise ValueError(f"{path}: {LIKE} is {like!r}, expected one of {', '.join(names())}")
    try:
        return record(Recipe, {"name": path.stem, **values}, base=recipe(like) if like else None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@cache
def _shipped(name: str) -> Recipe:
    return _read(FOLDER / f"{name}.toml")


def recipe(name: str) -> Recipe:
    """A shipped recipe by its name, or the one in a TOML file. Raises ValueError, OSError."""
    if name in names():
        return _shipped(name)
    if not name.endswith(".toml"):
        raise ValueError(f"recipe {name!r} is unknown, expected one of {', '.join(names())}, or a file NAME.toml")
    return _read(Path(name))


def changed(base: Recipe, settings: Sequence[tuple[str, Any]]) -> Recipe:
    """``base`` with ``settings``, (dotted key, value): what ``--set recipe.KEY=VALUE`` asks for. Raises ValueError."""
    for key, value in settings:
        *tables, last = key.split(".")
        nested: Any = {last: value}
        for table in reversed(tables):
            nested = {table: nested}
        base = record(Recipe, nested, "recipe.", base)
    return base


def to_toml(recipe: Recipe) -> str:
    """Every key of ``recipe`` as a TOML file that reads back as the same one."""
    values = dataclasses.asdict(recipe)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if key not in tables]
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join(lines) + "\n"
