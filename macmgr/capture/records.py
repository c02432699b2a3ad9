"""Writes macmgr's records as JSON and reads them back exactly, by the types of their fields. Pure.

A record is an object with the fields that differ from their defaults, a named tuple a list without its last defaults.
What is read back may come from anybody: each value has the type of its field, or ValueError says where it has not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Read = Callable[[Any], Any]


def to_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        said = {field.name: (getattr(value, field.name), field) for field in fields(value)}
        return {name: to_json(each) for name, (each, field) in said.items() if not _is_default(each, field)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _shortened(value)
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: to_json(each) for key, each in value.items()}
        return [[to_json(key), to_json(each)] for key, each in value.items()]
    if isinstance(value, set | frozenset):
        return sorted(map(to_json, value))
    return [to_json(each) for each in value]


def _is_default(value: Any, field: Field[Any]) -> bool:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return bool(type(value) is type(default) and value == default)


def _shortened(value: Any) -> list[Any]:
    """Drops the last values that are at their defaults: most entries of an FDB are short then."""
    kept, defaults = list(value), value._field_defaults
    for name in reversed(value._fields):
        if name not in defaults or defaults[name] != kept[-1]:
            break
        kept.pop()
    return [to_json(each) for each in kept]


def in_lines(value: Any, margin: str = "") -> str:
    """Returns JSON for people: a record is on several lines, a row of a table on one."""
    more = f"{margin} "
    if isinstance(value, dict) and value:
        fields = (f"{more}{json.dumps(key)}: {in_lines(each, more)}" for key, each in value.items())
        return "{\n" + ",\n".join(fields) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        return "[\n" + ",\n".join(f"{more}{in_lines(each, more)}" for each in value) + f"\n{margin}]"
    return json.dumps(value)


def from_json(kind: type[T], value: Any) -> T:
    """Reads a value of the type ``kind``. ValueError if it is none."""
    return cast("T", _reader(cast("Any", kind))(value))


@cache
def _reader(kind: Any) -> Read:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(inside)
    if origin is tuple:
        return _tuple(inside)
    if origin in (frozenset, Collection, Sequence):
        made: Callable[[Iterable[Any]], Any] = tuple if origin is Sequence else frozenset
        return _list(made, _reader(inside[0]))
    if origin is Mapping:
        return _mapping(*inside)
    if is_dataclass(kind):
        return _record(kind)
    if isinstance(kind, type) and issubclass(kind, tuple):
        return _row(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return lambda value: kind(_plain(type(value), value))
    if kind in (str, int, float, bool, dict, NoneType):
        return lambda value: _plain(kind, value)
    raise TypeError(f"no reader for {kind}")


def _plain(kind: Any, value: Any) -> Any:
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"{_shown(value)} where {kind.__name__} is expected")
    return value


def _one_of(kinds: Sequence[Any]) -> Read:
    """Reads None, or the one other type of the union: no field has more."""
    (kind,) = (each for each in kinds if each is not NoneType)
    read = _reader(kind)
    return lambda value: None if value is None else read(value)


def _tuple(inside: Sequence[Any]) -> Read:
    if inside[1:] == (Ellipsis,):
        return _list(tuple, _reader(inside[0]))
    readers = [_reader(each) for each in inside]

    def read(value: Any) -> Any:
        if len(_listed(value)) != len(readers):
            raise ValueError(f"a list of {len(value)} where {len(readers)} are expected")
        return tuple(each(part) for each, part in zip(readers, value, strict=True))

    return read


def _list(made: Callable[[Iterable[Any]], Any], inside: Read) -> Read:
    return lambda value: made(map(inside, _listed(value)))


def _mapping(key: Any, inside: Any) -> Read:
    read_key, read = _reader(key), _reader(inside)

    def by_name(value: Any) -> Any:
        return {name: read(each) for name, each in _object(value).items()}

    def in_pairs(value: Any) -> Any:
        return {} if value == {} else {read_key(name): read(each) for name, each in map(_pair, _listed(value))}

    return by_name if key is str else in_pairs


def _pair(value: Any) -> tuple[Any, Any]:
    first, second = _listed(value)
    return first, second


def _record(kind: Any) -> Read:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind) if field.init}

    def read(value: Any) -> Any:
        if strange := _object(value).keys() - readers.keys():
            raise ValueError(f"{kind.__name__} has no field {_shown(min(strange))}")
        try:
            return kind(**{name: readers[name](each) for name, each in value.items()})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{kind.__name__}: {error}") from None

    return read


def _row(kind: Any) -> Read:
    hints = get_type_hints(kind)
    readers = [_reader(hints[name]) for name in kind._fields]
    fewest = len(readers) - len(kind._field_defaults)

    def read(value: Any) -> Any:
        if not fewest <= len(_listed(value)) <= len(readers):
            raise ValueError(f"{kind.__name__}: a list of {len(value)}")
        return kind(*(each(part) for each, part in zip(readers, value, strict=False)))

    return read


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", _plain(list, value))


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", _plain(dict, value))


def _shown(value: Any) -> str:
    return f"{value!r:.40}" if isinstance(value, str | int | float) else type(value).__name__
