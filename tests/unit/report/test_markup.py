"""Names are printed as they are: ``db[prod]`` and ``db[test]`` are two guests, and ``[/x]`` may be a program's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from macmgr.doctor.diagnose import diagnose
from macmgr.model.intent import Intent, Manager, Policy, PortlessNic, Scope
from macmgr.model.snapshot import Entry
from macmgr.reconcile import apply, look, release
from macmgr.report.audittext import print_audit, print_show
from macmgr.report.diagnosis import print_diagnosis, print_vlan_filtering
from macmgr.report.outcome import print_outcome
from macmgr.report.planlines import print_plan
from macmgr.report.released import print_release
from macmgr.report.statustext import print_status
from macmgr.report.terminal import console
from macmgr.state.lock import WriterLock
from macmgr.view import View
from macmgr.vlanfiltering import Answer
from tests.cli.test_status import busy, told
from tests.doctorworld import CAPTURE, OPEN, WEB, World, guest, renamed, tap, uplink
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

LOCK = WriterLock()
BRIDGE, UPLINK, TAP, DOMAIN, COMM = "b[r]", "u[/p]", "v[bold]", "db[prod] :bug:", "[/x]"
NETWORK = "network lan[/b]: macTableManager"
NAMES = {"br0": BRIDGE, "up0": UPLINK, "vnet0": TAP, "guest-vnet0": DOMAIN, "network lan": NETWORK}


class Odd:
    """A guest, its bridge, its network and a capture, none of which has a name that is plain."""

    def __init__(self) -> None:
        world = World()
        world.bridge = replace(world.bridge, vlan_filtering=False)
        world.ports = [uplink(promiscuity=2), tap(flags=OPEN)]
        world.guests = [guest(policy=Policy(Manager.LIBVIRT, NETWORK))]
        world.sockets = [replace(CAPTURE, program=COMM)]
        world.entries = [Entry("52:54:00:00:00:99", 0, "vnet0")]
        snapshot = renamed(world.snapshot, NAMES)
        self.facts = renamed(world.facts, NAMES)
        self.kernel = FakeKernel(make_snapshot(snapshot.bridges.values(), snapshot.ports.values(), snapshot.entries))
        nic = PortlessNic(DOMAIN, WEB, "user[/u]", "it is [red]", "net[1]")
        self.intent: Intent = replace(renamed(Intent(tuple(world.guests), world.managed), NAMES), portless=(nic,))

    @property
    def view(self) -> View:
        return look(lambda: self.intent, self.kernel)

    def diagnosed(self, out: Console) -> None:
        print_diagnosis(out, diagnose(self.intent, self.kernel.read_snapshot(), self.facts, self.view.plan.findings))

    def applied(self, out: Console) -> None:
        self.kernel.refuses_puts = {TAP}
        print_outcome(out, apply(LOCK, lambda: self.intent, self.kernel, notes=Notebook()))

    def released(self, out: Console) -> None:
        notes = Notebook()
        apply(LOCK, lambda: self.intent, self.kernel, notes=notes)
        print_release(out, release(LOCK, lambda: self.intent, self.kernel, Scope(), notes))


def status() -> dict[str, Any]:
    names = {"br0": BRIDGE, "vnet0": TAP, "vnet3": TAP, "web1": DOMAIN, "network lan: macTableManager": NETWORK}
    document: dict[str, Any] = renamed(told(busy()), names)
    events = [*document["repairs"]["last"], *document["alarms"]["last"], *document["standing_back"]["now"]]
    for event in events:
        event["message"] = f"{DOMAIN} {event['message']}"
    return document


PAGES: dict[str, tuple[Callable[[Odd, Console], None], set[str]]] = {
    "audit": (
        lambda odd, out: print_audit(out, odd.view),
        {BRIDGE, NETWORK, UPLINK, TAP, DOMAIN, "user[/u]", "net[1]"},
    ),
    "show": (lambda odd, out: print_show(out, odd.view), {BRIDGE, UPLINK, TAP, DOMAIN, "it is [red]"}),
    "plan": (lambda odd, out: print_plan(out, odd.view), {f"'{TAP}'", DOMAIN}),
    "outcome": (lambda odd, out: odd.applied(out), {f"'{TAP}'", f"on {TAP}: no space"}),
    "release": (
        lambda odd, out: odd.released(out),
        {BRIDGE, f"({DOMAIN})", f"still manages {TAP}:", f"explain '{TAP}'' says"},
    ),
    "doctor": (lambda odd, out: odd.diagnosed(out), {BRIDGE, NETWORK, UPLINK, f"{TAP} ", DOMAIN, f"{COMM} (pid 123)"}),
    "VLAN filtering": (
        lambda _, out: print_vlan_filtering(out, BRIDGE, Answer(cut=(f"{TAP} of {DOMAIN} is.",))),
        {BRIDGE, f"{TAP} of {DOMAIN} is."},
    ),
    "VLAN filtering, turned on": (lambda _, out: print_vlan_filtering(out, BRIDGE, Answer(turned_on=True)), {BRIDGE}),
    "status": (lambda _, out: print_status(out, status()), {BRIDGE, NETWORK, DOMAIN}),
}


@pytest.mark.parametrize("page", PAGES)
def test_brackets_in_a_name_are_no_markup(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    write, names = PAGES[page]
    write(Odd(), console(color=False))
    said = capsys.readouterr().out
    assert {name for name in names if name not in said} == set()


def test_the_doctors_table_tells_two_guests_apart(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.ports.append(tap("vnet1"))
    world.guests = [guest(domain="db[prod]:bug:"), guest("vnet1", mac="52:54:00:00:00:02", domain="db[test]")]
    intent = Intent(tuple(world.guests), world.managed)
    print_diagnosis(console(color=False), diagnose(intent, world.snapshot, world.facts, []))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] in (["vnet0"], ["vnet1"])]
    assert [row[1] for row in rows] == ["db[prod]:bug:", "db[test]"]
