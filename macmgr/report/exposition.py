"""Prometheus' text format (0.0.4): families of samples, and the lines of a file or an answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Sample = tuple[Mapping[str, str], float]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    kind: str
    text: str
    samples: list[Sample]


def gauge(name: str, text: str, value: float | list[Sample] | None) -> Family:
    return Family(f"macmgr_{name}", "gauge", text, _samples(value))


def counter(name: str, text: str, value: float | list[Sample]) -> Family:
    return Family(f"macmgr_{name}_total", "counter", text, _samples(value))


def exposed(families: Iterable[Family]) -> str:
    """Returns the text; families without a sample are left out."""
    return "".join(line for family in families if family.samples for line in _lines(family))


def _samples(value: float | list[Sample] | None) -> list[Sample]:
    if value is None:
        return []
    return value if isinstance(value, list) else [({}, value)]


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.text}\n# TYPE {family.name} {family.kind}\n"
    for labels, value in family.samples:
        words = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
        number = "NaN" if math.isnan(value) else repr(float(value))
        yield f"{family.name}{f'{{{words}}}' if words else ''} {number}\n"
