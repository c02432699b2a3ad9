"""Gives millions of inputs to all that reads what others wrote: ``python -m tests.fuzz [TARGET…]``, docs/fuzzing.rst.

Each reader has a process of its own, twice. First libFuzzer (atheris) looks for inputs that reach code which none has
reached before, and keeps them; it takes ten times as long for each input. Then these and the corpus are changed at
random. ``build/fuzz/READER.fault`` is the input that was a fault: it belongs into tests/fuzz/corpus.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NoReturn

TOP = Path(__file__).parents[2]
WORK = TOP / "build" / "fuzz"
_LONGEST = {"capture": 24576}  # bytes
_SHORT, _FEW = 600, 30  # of what guidance has found, so many bytes and so many inputs are kept in the corpus
_POOL = 3000  # inputs that are changed further


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--documents", type=int, default=1_000_000, help="for all readers of documents together")
    parser.add_argument("--buffers", type=int, default=10_000_000, help="for all decoders of netlink together")
    parser.add_argument("--guided", type=int, default=20_000, help="of these, for each reader, with guidance")
    parser.add_argument("--grow", action="store_true", help="keep what guidance has found in the corpus")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    arguments = parser.parse_args()
    if arguments.child is not None:
        how, number = arguments.child
        _CHILDREN[how](arguments.targets[0], int(number))
    from tests.fuzz.targets import TARGETS

    names = arguments.targets or list(TARGETS)
    sums, faults = {True: 0, False: 0}, 0
    for name in names:
        alike = [each for each in names if TARGETS[each].buffer == TARGETS[name].buffer]
        wanted = -(-(arguments.buffers if TARGETS[name].buffer else arguments.documents) // len(alike))
        start = time.monotonic()
        done = 0
        for how, number in (("guided", min(arguments.guided, wanted)), ("plain", wanted - arguments.guided)):
            count, fault = _child(how, name, number) if number > 0 else (0, False)
            done += count
            faults += fault
            if fault:
                print(f"{name}: A FAULT, with {how} inputs: see {WORK / name}.{how}.log", flush=True)
                break
        else:
            print(f"{name:14} {done:>10,} inputs in {time.monotonic() - start:6,.0f} s: no fault", flush=True)
        sums[TARGETS[name].buffer] += done
        if arguments.grow:
            _child("merge", name, 0)
    print(f"{sums[False]:,} documents and {sums[True]:,} wire buffers: {faults or 'no'} faults")
    return 1 if faults else 0


def _child(how: str, name: str, number: int) -> tuple[int, bool]:
    """Returns how many inputs were given, and whether one was a fault."""
    WORK.mkdir(parents=True, exist_ok=True)
    log = WORK / f"{name}.{how}.log"
    with log.open("w") as file:
        words = [sys.executable, "-m", "tests.fuzz", "--child", how, str(number), name]
        code = subprocess.run(words, cwd=TOP, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    done = re.findall(r"number_of_executed_units: (\d+)", log.read_text(errors="replace"))
    return int(done[-1]) if done else 0, code != 0


def _guided(name: str, number: int, *more: str) -> NoReturn:
    """libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["macmgr", "tomllib"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz import mutation
    from tests.fuzz.oneinput import CORPUS, give

    target = TARGETS[name]

    def changed(data: bytes, longest: int, seed: int) -> bytes:
        if seed % 4 == 0:
            mutated: bytes = atheris.Mutate(data, longest)
            return mutated
        return mutation.mutated(target.form, data, Random(seed))[:longest]  # noqa: S311

    found = _found(name)
    found.mkdir(parents=True, exist_ok=True)
    how = [f"-runs={number}", "-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={WORK / name}.fault-"]
    limits = ["-rss_limit_mb=1500", "-timeout=100", f"-max_len={_LONGEST.get(name, 4096)}"]
    places = [str(found), str(CORPUS / name)]
    atheris.Setup(["fuzz", *how, *limits, *(more or places)], lambda data: give(target, data), custom_mutator=changed)
    atheris.Fuzz()
    raise SystemExit(0)


def _merge(name: str, _: int) -> NoReturn:
    """Keeps the shortest inputs that reach together what all that were found reach."""
    from tests.fuzz.oneinput import CORPUS

    least = WORK / f"{name}.least"
    least.mkdir(exist_ok=True)
    if os.fork() == 0:
        _guided(name, -1, "-merge=1", str(least), str(CORPUS / name), str(_found(name)))
    os.wait()
    short = [path for path in least.iterdir() if path.stat().st_size <= _SHORT]
    for path in sorted(short, key=lambda each: each.stat().st_size)[-_FEW:]:
        (CORPUS / name / f"{name}-{path.name[:8]}").write_bytes(path.read_bytes())
    raise SystemExit(0)


def _plain(name: str, number: int) -> NoReturn:
    from tests.fuzz.oneinput import bounded, give, inputs
    from tests.fuzz.targets import TARGETS

    found = sorted(_found(name).iterdir()) if _found(name).is_dir() else []
    pool, target = [path.read_bytes() for path in (*inputs(name), *found)], TARGETS[name]
    with bounded():
        for data in several(pool, number, target.form, Random()):  # noqa: S311
            cut = data[: _LONGEST.get(name, 4096)]
            try:
                give(target, cut)
            except BaseException:
                (WORK / f"{name}.fault").write_bytes(cut)
                raise
    print(f"number_of_executed_units: {number}")
    raise SystemExit(0)


def several(
    pool: Sequence[bytes], number: int, form: Callable[[bytes, Random], bytes], random: Random
) -> Iterator[bytes]:
    """Yields so many inputs: each of the pool as it is, and then changed ones, also of such as were changed before."""
    from tests.fuzz.mutation import mutated

    yield from pool[:number]
    changing = list(pool)
    for _ in range(number - len(pool)):
        data = mutated(form, random.choice(changing), random, pool)
        yield data
        if random.randrange(20) == 0:
            if len(changing) < _POOL:
                changing.append(data)
            else:
                changing[random.randrange(len(pool), _POOL)] = data


def _found(name: str) -> Path:
    return WORK / f"{name}.found"


_CHILDREN: dict[str, Callable[[str, int], NoReturn]] = {"guided": _guided, "plain": _plain, "merge": _merge}

if __name__ == "__main__":
    sys.exit(main())
