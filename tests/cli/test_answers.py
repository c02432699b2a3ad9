"""The answer stands first, and the last screen of a terminal has it too: who is cut off, why, and what helps."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from macmgr.report import terminal
from tests.cli.conftest import Host
from tests.cli.hostworlds import WORLDS
from tests.conftest import Golden
from tests.doctorworld import OPEN

HERE = Path(__file__).parent / "answers"
WIDTHS = (60, 80, 120)
ROWS = 24
VERBS = ("audit", "audit --problems", "plan", "apply", "show")
worlds = pytest.mark.parametrize("world", [pytest.param(each, marks=pytest.mark.case(each)) for each in WORLDS])
RUN = Path("whatever/run")  # as long as /run/libvirt, so that lines break at the same words
Screen = Callable[[str, int], str]


@pytest.fixture
def screen(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Screen:
    """What a terminal of so many columns shows of a command."""
    monkeypatch.chdir(tmp_path)
    RUN.parent.mkdir()
    host.run_dir = host.run_dir.rename(RUN)

    def typed(command: str, width: int) -> str:
        monkeypatch.setattr(terminal, "Console", lambda **how: Console(**{**how, "width": width, "height": ROWS}))
        said = host.macmgr(*shlex.split(command))
        text = f"$ macmgr {command}\n{said.stdout}{said.stderr}exit code {said.code}\n"
        return "".join(f"{line.rstrip()}\n" for line in text.replace(str(RUN), "/run/libvirt").splitlines())

    return typed


def last_screen(text: str, width: int) -> str:
    """The lines that the terminal shows whole, above the prompt, with single spaces: prose is wrapped anywhere."""
    shown: list[str] = []
    left = ROWS - 1
    for line in reversed(text.splitlines()):
        left -= -(-len(line) // width) or 1
        if left < 0:
            break
        shown.append(line)
    return " ".join(" ".join(reversed(shown)).split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", VERBS)
@worlds
def test_an_answer(world: str, verb: str, width: int, screen: Screen, golden: Golden) -> None:
    name = f"{world}-{verb.replace(' --', '-')}-{width}.txt"
    golden(HERE / name, screen(verb, width))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", ["audit", "audit --problems", "audit -v"])
@pytest.mark.case("twenty-guests")
def test_the_last_screen_names_each_guest_that_is_cut_off(screen: Screen, verb: str, width: int) -> None:
    last = last_screen(screen(verb, width), width)
    reasons = {"ci01": "wrong-bridge", "db01": "missing-entry", "mail01": "local-entry", "metrics01": "missing-port"}
    for guest, code in {**reasons, "web01": "stolen-entry"}.items():
        assert f"{guest} ({code})" in last
    assert "'macmgr apply' fixes 7 of 11 errors; 4 need you (marked *)" in last
    assert " is cut off: " in last
    assert "fix: " in last


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", ["audit", "audit --problems", "audit -v"])
@pytest.mark.case("three-hundred-guests")
def test_the_last_screen_has_the_one_of_three_hundred(screen: Screen, verb: str, width: int) -> None:
    text = screen(verb, width)
    last = last_screen(text, width)
    assert "vm217 is cut off: frames for 52:54:00:00:00:d9 leave through eno1 instead of vnet217" in last
    assert "fix: bridge fdb replace 52:54:00:00:00:d9 dev vnet217 master static sticky" in last
    assert "vm217 is cut off (stolen-entry). 'macmgr apply' fixes the error" in last
    assert (len(text.splitlines()) < ROWS) == (verb != "audit -v"), "what is well is left out, unless it is asked for"


@pytest.mark.parametrize("verb", VERBS)
@worlds
def test_the_first_line_is_the_answer(world: str, verb: str, screen: Screen) -> None:
    first = screen(verb, 200).splitlines()[1]
    starts: dict[str, tuple[str, ...]] = {
        "plan": ("# ",),
        "apply": ("1 change made", "7 changes made"),
        "show": ("br0 ",),
    }
    assert first.startswith(starts.get(verb, ("vm217 is cut off", "5 guests are cut off")))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verb", VERBS)
@worlds
def test_no_line_is_longer_than_the_terminal_but_commands(world: str, verb: str, width: int, screen: Screen) -> None:
    long = [line for line in screen(verb, width).splitlines() if len(line) > width]
    assert [line for line in long if not line.lstrip(" #").startswith(("fix: ", "would run: ", "bridge "))] == []


@pytest.mark.case("twenty-guests")
def test_more_is_said_on_request(screen: Screen) -> None:
    """plan -v: what each change repairs. show -v: who decides about each port, and its entries. A shell skips both."""
    brief, more = (screen(f"plan{option}", 120).splitlines() for option in ("", " -v"))
    assert set(brief[1:]) < set(more)
    at = more.index("# web01 is cut off: frames for 52:54:00:00:00:01 leave through eno1 instead of vnet1")
    assert more[at + 2].startswith("bridge fdb replace 52:54:00:00:00:01 dev vnet1 ")
    assert {line.split()[0] for line in more[1:-1]} == {"#", "bridge"}
    shown = screen("show -v", 120).splitlines()
    at = next(place for place, line in enumerate(shown) if " web01 " in line)
    assert "manager=libvirt: network lan: macTableManager" in shown[at + 1]
    assert "52:54:00:00:00:05 static sticky (VID 0,1)" in "\n".join(shown)


@pytest.mark.case("three-hundred-guests")
def test_many_of_a_kind_are_folded_unless_each_is_asked_for(host: Host, screen: Screen) -> None:
    """A host that is looked at for the first time has hundreds of findings, and three kinds of them."""
    for number in range(1, 41):
        host.kernel.set_flags(f"vnet{number}", OPEN)
    lines = screen("audit", 120).splitlines()
    learning = [line for line in lines if line.startswith("error   learning-on")]
    assert len(learning) == 6
    assert "35 more (vm006, vm007, vm008, vm009, vm010 and 30 more): -v shows each" in learning[0]
    (uplink,) = [line for line in lines if "uplink-promiscuous" in line]
    assert "eno1 is promiscuous: vnet1, vnet10, vnet11, vnet12, vnet13 and 35 more learn or flood" in uplink
    assert len([line for line in lines if line.endswith(" drift")]) == 40, "each port with a problem is in the table"
    for words in ("audit -v", "audit --problems"):
        assert screen(words, 120).count("error   learning-on") == 40
