"""macmgr.toml: what it says, and where and how it is told that it cannot be so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macmgr import cli
from macmgr.config import Config, DaemonSettings, HookSettings, load_config, parse_config, read_config
from macmgr.errors import ConfigError
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestMac, Intent, Manager, Modes, Pin, Settings
from macmgr.model.snapshot import Snapshot
from macmgr.planning.draft import Plan
from macmgr.view import View

WHOLE = """
[defaults]
mode = "observe"
[bridge."br0"]
mode = "manage"
mac_table_manager = "libvirt"
pin = "static"
lock = "yes"
guest_mac = "ignore"
allow = ["0:0:5E:0:1:a", "00:00:5e:00:01:*"]
[bridge.br1]
mode = "observe"
[hook]
on_error = "refuse"
timeout = 5
[daemon]
resync = 60
repairs_per_minute = 3
sightings = "no"
libvirt_events = "yes"
metrics_file = "/var/lib/node/macmgr.prom"
metrics_port = 9177
metrics_per_mac = "yes"
[audit]
strict = "yes"
"""
WORD = "a word in quotes is expected"
INTERFACE = "an interface name has 1 to 15 letters, no space, no /"


def told(text: str) -> list[str]:
    return [problem.at("f") for problem in read_config(text.encode())[1]]


def test_everything_that_can_be_said() -> None:
    allow = ("00:00:5e:00:01:0a", "00:00:5e:00:01:*")
    assert parse_config(WHOLE.encode(), "f") == Config(
        {"br0": Settings(Manager.LIBVIRT, Pin.STATIC, True, GuestMac.IGNORE, allow), "br1": Settings()},
        HookSettings(refuse=True, timeout=5.0),
        strict=True,
        daemon=DaemonSettings(60.0, 3, False, True, "/var/lib/node/macmgr.prom", 9177, True),
        modes=Modes(True, (("br0", False), ("br1", True))),
    )


def test_nothing_said_is_the_default() -> None:
    assert parse_config(b"", "f") == Config()


@pytest.mark.parametrize(
    "text",
    [
        "bridge.br0.lock = 'yes'",
        "bridge = {br0 = {lock = 'yes'}}",
        "[bridge]\nbr0.lock = 'yes'",
        "[bridge]\nbr0 = {lock = 'yes'}",
        "bridge.'br0' = {lock = 'yes'}",
        '[bridge]\n[bridge.br0]\nlock = """yes"""',
    ],
)
def test_every_way_to_write_a_table(text: str) -> None:
    assert parse_config(text.encode(), "f").bridges == {"br0": Settings(lock=True)}
    assert told(text.replace("yes", "ye")) == [
        f"f:{len(text.splitlines())}: lock is 'ye'; allowed: yes, no; did you mean 'yes'?"
    ]


@pytest.mark.parametrize(("toml", "word"), [("true", "yes"), ("false", "no")])
def test_booleans_of_toml_are_yes_and_no_in_every_option_that_has_these(toml: str, word: str) -> None:
    yes_no = [f"[daemon]\n{name} = " for name in ("sightings", "libvirt_events", "metrics_per_mac")]
    for option in ("[bridge.b]\nlock = ", "[audit]\nstrict = ", *yes_no):
        assert parse_config(f"{option}{toml}".encode(), "f") == parse_config(f"{option}'{word}'".encode(), "f")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[bridge.b]\npin = true", f"f:2: pin is true without quotes, {WORD}; allowed: auto, sticky, static"),
        ("[bridge.b]\nlock = 0", f"f:2: lock is the number 0, {WORD}; allowed: yes, no; did you mean 'no'?"),
        ("[bridge.b]\nlock = 1", f"f:2: lock is the number 1, {WORD}; allowed: yes, no; did you mean 'yes'?"),
        ("[bridge.b]\nlock = ''", "f:2: lock is ''; allowed: yes, no"),
        ("[bridge.b]\npin = ['sticky']", f"f:2: pin is a list, {WORD}; allowed: auto, sticky, static"),
        ("[bridge.b]\npin.x = 1", f"f:2: pin is a table, {WORD}; allowed: auto, sticky, static"),
        ("[bridge.b]\npin = 1979-05-27", f"f:2: pin is a date or time, {WORD}; allowed: auto, sticky, static"),
        ("[bridge.b]\nallow = '0:0:5e:*'", "f:2: allow is '0:0:5e:*', a list is expected: allow = "
         '["00:00:5e:00:01:*"]'),
        ("[bridge.b]\nallow = [\n  '0:0:5e:*',\n  '0:0:5e:zz:*',\n]", "f:4: allow: '0:0:5e:zz:*' is not a MAC prefix: "
         "one to five hex pairs, then :*"),
        ("[bridge.b]\nallow = [\n  '01:*'\n]", "f:3: allow: 01:* holds group (multicast) addresses, a NIC needs a "
         "unicast one"),
        ("[bridge.b]\nallow = ['0:0:0:0:0:0']", "f:2: allow: 00:00:00:00:00:00 is not the address of a NIC"),
        ("[bridge.b]\nallow = [7]", "f:2: the number 7 in allow, MAC addresses and prefixes in quotes are expected"),
        ("\n[bridge]\nlock = 'yes'", "f:3: the option lock is in [bridge]; it stands in the table of one bridge: "
         '[bridge."NAME"]'),
        ("[bridge.br0.100]\nlock = 'yes'", 'f:1: a table in [bridge."br0"]; a name with a dot is quoted: '
         '[bridge."br0.100"]'),
        ("[bridge.'a b']", f"f:1: 'a b' cannot be a bridge: {INTERFACE}"),
        ("[bridge.'sixteen_letters_']", f"f:1: 'sixteen_letters_' cannot be a bridge: {INTERFACE}"),
        ("[bridge.'']", f"f:1: '' cannot be a bridge: {INTERFACE}"),
        ("[[bridge.b]]\nlock = 'yes'", 'f:1: b is a list, a table is expected: [bridge."b"]'),
        ("bridge = 3", "f:1: bridge is the number 3, a table is expected: [bridge]"),
        ("[[hook]]\ntimeout = 3", "f:1: hook is a list, a table is expected: [hook]"),
        ("[hook]\ntimeout = '2'", "f:2: timeout is '2'; allowed: seconds from 0.1 to 30, without quotes"),
        ("[hook]\ntimeout = nan", "f:2: timeout is the number nan; allowed: seconds from 0.1 to 30, without quotes"),
        ("[hook]\ntimeout = 31", "f:2: timeout is the number 31; allowed: seconds from 0.1 to 30, without quotes"),
        ("[hook]\ntimeout = true", "f:2: timeout is true without quotes; allowed: seconds from 0.1 to 30, without "
         "quotes"),
        ("[hook]\non_error = []", f"f:2: on_error is a list, {WORD}; allowed: ignore, refuse"),
        ("[audit]\nstrict = 1", f"f:2: strict is the number 1, {WORD}; allowed: yes, no; did you mean 'yes'?"),
        ("[deputy]", "f:1: unknown name 'deputy'; allowed: defaults, bridge, hook, daemon, audit"),
        ("[daemon]\nresync = 1", "f:2: resync is the number 1; allowed: seconds from 10 to 86400, without quotes"),
        ("[daemon]\nrepairs_per_minute = 1.5", "f:2: repairs_per_minute is the number 1.5; allowed: a whole number "
         "from 1 to 10000, without quotes"),
        ("[daemon]\nmetrics_port = 65536", "f:2: metrics_port is the number 65536; allowed: a whole number from 0 to "
         "65535, without quotes"),
        ("[daemon]\nmetrics_file = 'a'", "f:2: metrics_file is 'a'; allowed: a path that begins with /, in quotes"),
        ("[bridge]\nmode = 'observe'", "f:2: the option mode is in [bridge]; it stands in the table of one bridge: "
         "[bridge.\"NAME\"]"),
        ("[defaults]\nmode = 'look'", "f:2: mode is 'look'; allowed: manage, observe"),
        ("[defaults]\npin = 'static'", "f:2: unknown name 'pin'; allowed: mode"),
        ("[bridge.b]\nmode = true", f"f:2: mode is true without quotes, {WORD}; allowed: manage, observe"),
        ("[hook]\n\n[hook]", "f:3: the table [hook] is there twice; put its options together"),
        ("[bridge.b]\nlock = 'no'\n[bridge.\"b\"]\n", "f:3: the table [bridge.b] is there twice; put its options "
         "together"),
        ("[hook]\ntimeout = 1\ntimeout = 2\n", "f:3: a name is given a value twice"),
        ("[hook\n", "f:1: not TOML at column 6: "),
        ("timeout = '", "f:1: not TOML at the end: "),
        ("a = " + "[" * 9999, "f: not TOML that can be read: nested too deeply, or a number without an end"),
        ("a = " + "9" * 9999, "f: not TOML that can be read: nested too deeply, or a number without an end"),
    ],
)  # fmt: skip
def test_what_is_wrong(text: str, expected: str) -> None:
    (line,) = told(text)
    # tomllib's own words differ from one Python to the next
    assert line.startswith(expected) if "not TOML at" in line or "twice" in line else line == expected


def test_bytes_that_are_no_text() -> None:
    assert [problem.at("f") for problem in read_config(b"[hook]\n# \xff")[1]] == [
        "f:2: not UTF-8 text, as TOML has to be"
    ]


def test_the_first_mistake_stops_and_the_others_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "macmgr.toml"
    path.write_text("[hook]\ntimeout = 0\non_error = 'no'\n[audti]\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value) == (
        f"{path}:2: timeout is the number 0; allowed: seconds from 0.1 to 30, without quotes "
        f"(and 2 more: 'macmgr validate {path}')"
    )


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "gone.toml")


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("macmgr.paths.CONFIG", tmp_path / "gone.toml")
    assert load_config(None) == Config(written=False)
    (tmp_path / "gone.toml").write_text("\n")  # an editor that is about to write it
    assert not load_config(None).written
    (tmp_path / "gone.toml").write_text("# nothing\n")
    assert load_config(None).written


PIECES = st.sampled_from(
    [*"[]{}='\".#\n\\", "bridge", "hook", "lock", "yes", "timeout", "1", "true", "nan", '"""', "é"]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(), st.integers(0, len(WHOLE)))
def test_whatever_stands_there_is_read_or_told_with_its_line(noise: str, place: int) -> None:
    text = WHOLE[:place] + noise.replace("\x00", "") + WHOLE[place:]
    data = text.encode("utf-8", "replace")
    assert all(problem.line for problem in read_config(data)[1])


@pytest.mark.parametrize(("text", "words", "code"), [("", [], 0), ("", ["--strict"], 1), ("strict = 'yes'", [], 1)])
def test_strict_lets_a_warning_count_as_drift(
    text: str, words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = Finding(Code.CONFLICTING_SETTINGS, "two settings contradict each other")
    monkeypatch.setattr("macmgr.verbs.host.view_of", lambda *_: View(Intent(), Snapshot(), Plan((), (warning,))))
    path = tmp_path / "macmgr.toml"
    path.write_text(f"[audit]\n{text}\n")
    assert cli.run(["audit", "--config", str(path), *words]) == code
