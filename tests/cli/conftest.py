"""`macmgr` as a person types it, on a host that is a golden case: no root, no libvirt, and nothing of this host."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest

from macmgr import cli, paths
from macmgr.commands import make_parser
from macmgr.state import lock
from macmgr.verbs import host as verbs
from tests.cli.hostworlds import WORLDS
from tests.fake_kernel import FakeKernel
from tests.golden.case import lay_out, read_snapshot

CASES = Path(__file__).parents[1] / "golden"
Run = Callable[..., "Said"]


@dataclass(frozen=True)
class Said:
    """What a call of macmgr answered."""

    code: int
    stdout: str
    stderr: str


class Kernel(FakeKernel):
    """The kernel that the command line opens, and closes again."""

    def __init__(self, case: Path) -> None:
        super().__init__(read_snapshot(json.loads((case / "snapshot.json").read_text())))

    def __call__(self, netns: str | None = None) -> Kernel:
        return self

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Host:
    """A host that is like a golden case; ``macmgr`` runs on it."""

    case: Path
    kernel: Kernel
    run_dir: Path
    config: Path
    lock: Path
    _capture: pytest.CaptureFixture[str]

    def macmgr(self, *words: str) -> Said:
        return self.macmgr_without_run_dir("--run-dir", str(self.run_dir), *words)

    def macmgr_without_run_dir(self, *words: str) -> Said:
        self._capture.readouterr()
        try:
            code = cli.run(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        return Said(code, *self._capture.readouterr())

    def start_over(self) -> None:
        """The host is as it was, and macmgr remembers nothing of it."""
        vars(self.kernel).update(vars(Kernel(self.case)))
        for path in (paths.STATE, paths.REMEMBERED):
            path.unlink(missing_ok=True)


@dataclass
class Clock:
    """The time that the writer lock sees: it passes while somebody sleeps, and only then."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def lock_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lock, "time", clock)
    return clock


@pytest.fixture
def host(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Host:
    """The case that the test names with `@on`, or one where all is well."""
    marker = request.node.get_closest_marker("case")
    named = marker.args[0] if marker else "two-guests-and-a-plain-bridge"
    case = WORLDS[named](tmp_path / "case") if named in WORLDS else CASES / named
    kernel = Kernel(case)
    config = tmp_path / "macmgr.toml"
    if (case / "config.toml").exists():
        config.write_text((case / "config.toml").read_text())
    monkeypatch.setattr(cli, "make_parser", cache(make_parser))  # to make it takes as long as a verb's work
    monkeypatch.setattr(verbs, "Kernel", kernel)
    monkeypatch.setattr(paths, "CONFIG", config)
    monkeypatch.setattr(paths, "STATE", tmp_path / "state" / "state.json")
    monkeypatch.setattr(paths, "OBSERVED", tmp_path / "observed.json")
    monkeypatch.setattr(paths, "REMEMBERED", tmp_path / "remembered")
    monkeypatch.setattr(lock, "hold", partial(lock.hold, tmp_path / "lock", wait=0.3))  # 5 s: tests/unit/state
    monkeypatch.setenv("COLUMNS", "80")
    return Host(case, kernel, lay_out(case, tmp_path), config, tmp_path / "lock", capsys)


def run_macmgr(*words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
    """macmgr as a process of its own."""
    command = [sys.executable, "-m", "macmgr", *map(str, words)]
    return subprocess.run(command, text=True, check=False, timeout=60, **how)  # type: ignore[call-overload, no-any-return]
