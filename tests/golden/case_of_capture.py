"""Makes a case of what `macmgr capture` wrote: ``python -m tests.golden.case_of_capture h1.tar NAME``.

The case has the inputs that any case has, and what macmgr says of them now; read that before you keep it. The host's
snapshot is as it was recorded. A capture that somebody sends has names and addresses of theirs: ask for an anonymous
one (``macmgr capture --anonymous --replay h1.tar h2.tar``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from macmgr.capture.origin import Origin
from macmgr.capture.recordedkernel import RecordedKernel
from macmgr.capture.records import to_json
from macmgr.capture.replaying import RecordedFiles, origin_of_capture
from macmgr.config import DAEMON_NAMES, HOOK_NAMES, Config, parse_config
from macmgr.options import OPTIONS

_PLACES = {"qemu": "status", "lxc": "lxc", "network": "network"}
_HERE = Path(__file__).parent


def make_case(origin: Origin, folder: Path) -> Iterator[str]:
    """Writes the inputs of a case. Yields what a case cannot have, in lines."""
    kernel, files = origin.kernel(), origin.files
    assert isinstance(kernel, RecordedKernel)
    assert isinstance(files, RecordedFiles)
    folder.mkdir(parents=True)
    state, (memory, _), seen = origin.read_libvirt()(), origin.memory(), origin.seen()
    for path, data in files.documents.items():
        place = _place(Path(path), origin.run_dir, files.definitions_directory)
        if not isinstance(data, bytes):
            yield f"{path} is not in the case: {data}"
            continue
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(data)
    said = {"recorded": to_json(kernel.whole), "ended": sorted(state.without_process.values())}
    _write(folder / "snapshot.json", said)
    if to_json(memory) or seen.records or seen.lost:
        _write(folder / "memory.json", {"memory": to_json(memory), "seen": to_json(seen)})
    config = origin.config()
    text = toml_of(config)
    if config.written:
        (folder / "config.toml").write_text(text)
    if (parse_config(text.encode(), "config.toml") if config.written else Config(written=False)) != config:
        yield "the configuration of the case is not that of the host"


def _place(path: Path, run_dir: Path, definitions: Path) -> Path:
    if path.parent == definitions:
        return Path("definitions", path.name)
    below = path.relative_to(run_dir).parts
    if len(below) > 2:
        return Path("ports", below[1], below[-1])
    return Path(_PLACES[below[0]], *below[1:])


def _write(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n")


def toml_of(config: Config) -> str:
    """The configuration as a file would say it."""
    lines = _table("defaults", {"mode": "observe"} if config.modes.default else {})
    lines += [*_table("hook", _hook(config)), *_table("daemon", _daemon(config))]
    lines += _table("audit", {"strict": config.strict})
    modes = dict(config.modes.named)
    for name, settings in config.bridges.items():
        said: dict[str, object] = {
            o.toml: o.word(value) for o in OPTIONS if (value := getattr(settings, o.field)) is not None
        }
        said |= {"allow": list(settings.allow)} if settings.allow else {}
        said |= {"mode": "observe" if modes[name] else "manage"} if name in modes else {}
        lines += _table(f"bridge.{json.dumps(name, ensure_ascii=False)}", said, always=True)
    return "\n".join(lines) + "\n"


def _hook(config: Config) -> dict[str, object]:
    said: dict[str, object] = {"on_error": "refuse" if config.hook.refuse else "ignore", "timeout": config.hook.timeout}
    assert said.keys() == set(HOOK_NAMES)
    return said


def _daemon(config: Config) -> dict[str, object]:
    said = {field.name: getattr(config.daemon, field.name) for field in fields(config.daemon)}
    assert said.keys() == set(DAEMON_NAMES)
    return said


def _table(name: str, values: Mapping[str, object], *, always: bool = False) -> list[str]:
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return [f"[{name}]", *lines] if lines or always else []


def main(source: str, name: str) -> int:
    folder = _HERE / name
    for line in make_case(origin_of_capture(Path(source)), folder):
        print(line)
    print(f"{folder} is made; this writes what macmgr says of it:")
    return int(pytest.main(["-q", "--update-golden", "-k", name, str(_HERE / "test_golden.py")]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
