"""On which bridges nothing is changed, and which sections of the configuration a bridge belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from macmgr import paths
from macmgr.config import Config, load_config, parse_config
from macmgr.installation import install_config, uninstall_config
from macmgr.model.changes import SetFlags
from macmgr.model.codes import Code
from macmgr.model.intent import MANAGE_ALL, OBSERVE_ALL, Scope, sections_of
from macmgr.model.snapshot import PortFlags


def config(text: str) -> Config:
    return parse_config(text.encode(), "f")


def test_nothing_written_is_manage_so_that_existing_hosts_stay_as_they_are() -> None:
    assert not Config().observes("br0")
    assert not config('[bridge."br0"]\nmac_table_manager = "libvirt"\n').observes("br0")


def test_while_the_installed_file_is_written_anew_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor empties or renames it first: a hook that comes right then must not manage what is only observed."""
    path = tmp_path / "macmgr.toml"
    monkeypatch.setattr(paths, "CONFIG", path)
    assert not load_config(None).observes("br0")
    path.write_text("\n")
    assert not load_config(path).observes("br0"), "nobody has installed it: a host that is as it always was"
    path.unlink()
    install_config(path)
    text = path.read_text()
    for unfinished in (None, "", " \n"):
        path.unlink() if unfinished is None else path.write_text(unfinished)
        config = load_config(None)
        assert (config.observes("br0"), config.written) == (True, False)
    path.write_text(text.replace("observe", "manage"))
    assert not load_config(path).observes("br0")
    list(uninstall_config(path))
    path.write_text("")
    assert not load_config(path).observes("br0")


def test_a_bridges_own_word_goes_before_the_defaults() -> None:
    found = config("[defaults]\nmode = 'observe'\n[bridge.br0]\nmode = 'manage'\n[bridge.br1]\npin = 'static'\n")
    assert [found.observes(name) for name in ("br0", "br1", "br2")] == [False, True, True]
    found = config("[bridge.br0]\nmode = 'observe'\n")
    assert [found.observes(name) for name in ("br0", "br1")] == [True, False]


def test_a_pattern_has_a_mode_like_any_section_and_the_very_name_goes_first() -> None:
    found = config(
        "[defaults]\nmode = 'observe'\n[bridge.'br-*']\nmode = 'manage'\n[bridge.'br-dmz']\nmode = 'observe'\n"
        "[bridge.'br-d?z']\nmode = 'observe'\n"
    )
    assert [found.observes(name) for name in ("br-dmz", "br-daz", "br-lan", "br0")] == [True, False, False, True]


@pytest.mark.parametrize(
    ("bridge", "names"),
    [
        ("br0", ["br0", "br*", "br?"]),
        ("br1", ["br*", "br?"]),
        ("br10", ["br*"]),
        ("br*", ["br*", "br?"]),  # a bridge may be called so
        ("xbr0", []),
        ("b[r]", ["b[r]"]),
        ("br.0", ["br*"]),
        ("br\n0", ["br*"]),
    ],
)
def test_sections_of_a_bridge(bridge: str, names: list[str]) -> None:
    sections = dict.fromkeys(("br*", "br?", "br0", "b[r]", "xbr1"), 0)
    assert [name for name, _ in sections_of(bridge, sections)] == names


def test_the_two_extremes() -> None:
    assert OBSERVE_ALL.observes("br0")
    assert not MANAGE_ALL.observes("br0")


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        (Scope(), [True, True, True, True]),
        (Scope("web1"), [True, False, False, True]),
        (Scope(bridges=frozenset({"br0"})), [True, True, False, True]),
        (Scope("web1", frozenset({"br1"})), [False, False, False, True]),
    ],
)
def test_what_a_scope_holds(scope: Scope, held: list[bool]) -> None:
    """A bridge that is not known may be any, and so it is told."""
    asked = [("web1", "br0"), (None, "br0"), ("web2", "br1"), ("web1", "")]
    assert [scope.holds(domain, bridge) for domain, bridge in asked] == held


def test_a_change_on_an_observed_bridge_is_left_out() -> None:
    change = SetFlags("vnet0", PortFlags(), PortFlags(learning=False), "br0", "web1", Code.LEARNING_ON)
    assert Scope(observes={"br0"}.__contains__).leaves_out(change)
    assert not Scope(observes={"br1"}.__contains__).leaves_out(change)
    assert Scope(skips=lambda _: True).leaves_out(change)
