"""Nothing that stands where a file should be holds a reader: each says what is wrong, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from macmgr import hookcheck
from macmgr.config import load_config
from macmgr.errors import ConfigError, NotThere, XmlError
from macmgr.installation import (
    install_config,
    install_hooks,
    install_unit,
    uninstall_config,
    uninstall_hooks,
    uninstall_unit,
)
from macmgr.model.findings import Code
from macmgr.safefiles import read_regular
from macmgr.sources.statusfiles import StatusFiles
from macmgr.verbs.validate import check_file
from tests.strangefiles import STRANGE, strange

TIMEOUT = 30
TRUSTING = "<networkstatus><network><name>lan</name><bridge name='br0'/>{}</network></networkstatus>"
DOMAIN = (
    "<domstatus state='running' pid='1'><domain type='kvm'><name>g1</name><uuid>u-1</uuid><devices>"
    "<interface type='bridge'><mac address='52:54:00:aa:00:01'/><source bridge='br0'/><target dev='vnet1'/>"
    "</interface></devices></domain></domstatus>"
)


def in_time(act: Callable[[], object]) -> object:
    """What ``act`` returns or raises, unless it hangs."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(act())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert result, "it hangs"
    return result[0]


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_is_an_error(tmp_path: Path, kind: str) -> None:
    with strange(kind, tmp_path / "file"):
        before = len(os.listdir("/proc/self/fd"))
        error = in_time(lambda: read_regular(tmp_path / "file", 1000))
        assert isinstance(error, OSError)
        assert error.strerror
        assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"", b"x", b"x" * 1000):
        path.write_bytes(data)
        assert read_regular(path, 1000) == data
    path.write_bytes(b"x" * 1001)
    with pytest.raises(OSError, match="larger than 1000 bytes"):
        read_regular(path, 1000)
    (tmp_path / "link").symlink_to("file")
    path.write_bytes(b"x")
    assert read_regular(tmp_path / "link", 1) == b"x"
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(tmp_path / "link", 1, follow=False)


def test_a_file_that_does_not_know_its_size_is_read_to_its_end() -> None:
    assert read_regular("/proc/self/status", 1 << 20).startswith(b"Name:")
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular("/proc/self/status", 10)


@pytest.mark.parametrize("kind", STRANGE)
def test_the_configuration(tmp_path: Path, kind: str) -> None:
    with strange(kind, tmp_path / "macmgr.toml"):
        error = in_time(lambda: load_config(tmp_path / "macmgr.toml"))
    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"{tmp_path}/macmgr.toml: cannot be read: ")


@pytest.mark.parametrize(
    "text", ["# " + "x" * (4 << 20), "[bridge.b1]\nallow = [\n" + '"00:00:5e:00:01:0a",\n' * 200_000 + "]\n"]
)
def test_a_configuration_that_is_far_too_long(tmp_path: Path, text: str) -> None:
    (tmp_path / "macmgr.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"macmgr\.toml: cannot be read: it is larger than 1 MiB"):
        load_config(tmp_path / "macmgr.toml")


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("place", ["qemu/g2.xml", "lxc/c1.xml", "network/dmz.xml", "network/lan/ports/p1.xml"])
@pytest.mark.parametrize("kind", STRANGE)
def test_status_files(tmp_path: Path, kind: str, place: str, cached: bool) -> None:
    """That file is told, with its domain where it is one's; a link to nothing is no domain that has ended."""
    for name, text in (
        ("qemu/g1.xml", DOMAIN),
        ("network/lan.xml", TRUSTING.format("<portgroup name='p' trustGuestRxFilters='yes'/>")),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    files = StatusFiles(tmp_path)
    with strange(kind, tmp_path / place):
        for _ in range(2):
            sources = in_time((files if cached else StatusFiles(tmp_path)).read)
            assert not isinstance(sources, Exception), sources
            assert [each.name for each in sources.domains] == ["g1"]  # type: ignore[attr-defined]
            (finding,) = sources.findings  # type: ignore[attr-defined]
            assert finding.code is Code.UNREADABLE_XML
            assert place in finding.message
            assert finding.domain == (Path(place).stem if place.startswith(("qemu", "lxc")) else None)


@pytest.mark.parametrize("kind", STRANGE)
def test_directories_of_status_files(tmp_path: Path, kind: str) -> None:
    if kind == "directory":
        pytest.skip("that is what is wanted")
    run = tmp_path / "run"
    run.mkdir()
    with strange(kind, run / "qemu"):
        sources = in_time(lambda: StatusFiles(run).read())
    assert not isinstance(sources, Exception), sources


@pytest.mark.parametrize("kind", STRANGE)
def test_definitions_of_networks(tmp_path: Path, kind: str) -> None:
    active = tmp_path / "run/libvirt/network/lan.xml"
    active.parent.mkdir(parents=True)
    active.write_text("<networkstatus><network><name>lan</name><bridge name='br0'/></network></networkstatus>")
    with strange(kind, tmp_path / "etc" / "libvirt" / "qemu" / "networks" / "lan.xml"):
        state = in_time(StatusFiles(tmp_path / "run/libvirt").read)
    assert (len(state.networks), state.definitions) == (1, ())  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_to_be_validated(tmp_path: Path, kind: str) -> None:
    for name in ("file.xml", "file.toml"):
        with strange(kind, tmp_path / name):
            verdict = in_time(lambda name=name: check_file(str(tmp_path / name)))  # type: ignore[misc]
        assert verdict.exit_code in (NotThere.exit_code, XmlError.exit_code), verdict  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_what_the_caller_has_opened_may_be_a_pipe(place: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "macmgr", "validate", place],
        input=b"<network><name>lan</name></network>",
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert b"network 'lan': understood" in said.stdout, said


@pytest.mark.parametrize("kind", STRANGE)
def test_what_install_replaces_or_removes(tmp_path: Path, kind: str) -> None:
    """It is not ours, whatever it is: neither replaced nor removed, nor waited for."""
    hook, unit, config = (tmp_path / name for name in ("qemu.d/99-macmgr", "macmgr.service", "etc/macmgr.toml"))
    with strange(kind, hook), strange(kind, unit), strange(kind, config):
        assert isinstance(in_time(lambda: install_hooks(tmp_path, Path("/bin/true"))), NotThere)
        assert isinstance(in_time(lambda: install_unit(tmp_path, Path("/bin/true"))), NotThere)
        assert in_time(lambda: list(uninstall_hooks(tmp_path))) == []
        assert in_time(lambda: list(uninstall_unit(tmp_path))) == []
        assert in_time(lambda: hookcheck.problems(tmp_path)) == ()
        step = in_time(lambda: install_config(config))
        assert getattr(step, "what", "") == "already there"
        (config.parent / ".macmgr.toml.sha256").write_text("0 macmgr.toml\n")
        in_time(lambda: list(uninstall_config(config)))
        for path in (hook, unit, config):
            assert os.path.lexists(path)
        with suppress(OSError):
            (config.parent / ".macmgr.toml.sha256").unlink()
