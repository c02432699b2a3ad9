"""A missing optional library skips the tests that need it, and the collection of all the others goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
# Collection in a process of its own, where the libraries are as good as not installed: None in sys.modules says so.
BLOCKED = """\
import sys
import pytest
libraries = ["libvirt", "inotify_simple", "yaml", "prometheus_client", "prometheus_client.parser"]
sys.modules.update(dict.fromkeys(libraries))
options = ["--collect-only", "-q", "-rs", "-p", "no:cacheprovider", "--assert=plain"]
raise SystemExit(pytest.main([*options, *sys.argv[1:]]))
"""
NEEDS = {
    "libvirt": ("unit/sources/test_hypervisor.py", "unit/sources/test_libvirtevents.py", "cli/test_net.py"),
    "inotify_simple": (
        "unit/watch/test_watch_files.py",
        "netns/test_watch_loop.py",
        "netns/test_watch_endurance.py",
        "netns/test_watch_port_drift.py",
        "netns/test_watch_soak.py",
    ),
    "yaml": ("unit/test_monitoring_kit.py",),
    "prometheus_client.parser": (
        "unit/test_dashboard.py",
        "unit/watch/test_watch_metrics.py",
        "unit/watch/test_watch_docs.py",
        "cli/test_monitoring_formats.py",
    ),
}


def test_missing_libraries_skip_their_tests_and_no_others() -> None:
    folders = ["unit", "cli", "netns", "property", "golden", "hooks"]
    words = [sys.executable, "-c", BLOCKED, *(f"tests/{each}" for each in folders)]
    said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, cwd=TOP)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr
    needing = {f"tests/{file}" for files in NEEDS.values() for file in files}
    collected = {line.partition("::")[0] for line in said.stdout.splitlines() if "::" in line}
    every = {str(path.relative_to(TOP)) for folder in folders for path in (TOP / "tests" / folder).rglob("test_*.py")}
    assert collected == every - needing
    for library in NEEDS:
        assert f"could not import '{library}'" in said.stdout
