"""Read a recipe from TOML and ``--set recipe.KEY=VALUE``, checking every key and type; write one as TOML."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from mutualformer.runtime.files import read_regular
from mutualformer.train.fitting.recipes.recipe import Recipe, Stage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
LARGEST_RECIPE = 1 << 20  # bytes
LIKE = "like"  # key of a recipe file: the name of the recipe that the file's other keys change
T = TypeVar("T")
STAGES, TABLE = tuple[Stage, ...], Mapping[str, float]


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(fits, value))


def _is_stage(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) not in (2, 3):
        return False
    return _number(value[0]) and all(type(side) is int for side in value[1:])


# Type of a field → (what the message expects, whether a value of a TOML or JSON document fits).
_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", _number),
    str: ("a string", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    tuple[str, ...]: ("a list of strings", _list_of(lambda item: isinstance(item, str))),
    tuple[float, ...]: ("a list of numbers", _list_of(_number)),
    STAGES: ("a list of [share, side] or [share, smallest side, largest side]", _list_of(_is_stage)),
    TABLE: ("a table of numbers", lambda value: isinstance(value, Mapping) and all(map(_number, value.values()))),
}


def names() -> list[str]:
    """The shipped recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _typed(kind: Any, value: Any, now: Any, key: str) -> Any:
    """``value`` of a TOML or JSON document as ``kind``; tables keep the keys of ``now`` that they do not name."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} is {value!r}, expected a table")
        return record(cast("type", kind), value, f"{key}.", now)
    expected, fits = _KINDS[kind]
    if not fits(value):
        raise ValueError(f"{key} is {value!r}, expected {expected}")
    if kind == STAGES:
        return tuple((float(start), *sides) for start, *sides in value)
    if kind == TABLE:
        return {**(now or {}), **value}
    return float(value) if kind is float else tuple(value) if isinstance(value, list) else value


def record(kind: type[T], values: Mapping[str, Any], prefix: str = "", base: T | None = None) -> T:
    """``values`` as a ``kind``; absent keys keep the values of ``base``, else the defaults. Raises ValueError."""
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{prefix}{unknown[0]} is unknown, expected one of {', '.join(prefix + key for key in hints)}")
    given = {key: _typed(hints[key], value, getattr(base, key, None), prefix + key) for key, value in values.items()}
    if base is not None:
        return dataclasses.replace(base, **given)  # type: ignore[type-var]
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{field.name} is missing")
    return kind(**given)


def _read(path: Path) -> Recipe:
    try:
        values = tomllib.loads(read_regular(path, LARGEST_RECIPE).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not TOML ({error})") from error
    like = values.pop(LIKE, None)
    if like is not None and (not isinstance(like, str) or like not in names()):
        raise ValueError(f"{path}: {LIKE} is {like!r}, expected one of {', '.join(names())}")
    try:
        return record(Recipe, {"name": path.stem, **values}, base=recipe(like) if like else None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def recipe(name: str) -> Recipe:
    """A shipped recipe by its name, or the one in a TOML file. Raises ValueError, OSError."""
    if name in names():
        return _read(FOLDER / f"{name}.toml")
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
