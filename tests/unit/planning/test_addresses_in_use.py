"""A port behind which addresses are in use that nothing allows is not closed without a word of consent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.model.findings import Code, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, Pin, Policy
from macmgr.model.known import Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.planning import planner
from macmgr.planning.entries import addresses_in_use
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from macmgr.state.statedocument import document_of, parse_document
from macmgr.view import Outcome
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

OWN, VRRP, NESTED = "52:54:00:00:00:01", "00:00:5e:00:01:0a", "52:54:00:cc:00:01"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)


def guest(*allow: str, **policy: Any) -> GuestPort:
    macs = (OWN, *(mac for mac in allow if not mac.endswith("*")))
    return GuestPort("vnet1", "br0", "vr1", "u1", macs, policy=Policy(manager=Manager.LIBVIRT, allow=allow, **policy))


def host(*used: str, flags: PortFlags = OPEN) -> FakeKernel:
    ports = [
        BridgePort("eth0", 5, "br0", "fe:00:00:00:00:05", OPEN, (1,), 1),
        BridgePort("vnet1", 11, "br0", "fe:00:00:00:00:01", flags, (1,), 1),
    ]
    entries = [Entry(mac, 0, "vnet1", EntryState.DYNAMIC) for mac in used]
    return FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00")], ports, entries))


def applied(kernel: FakeKernel, who: GuestPort, notes: Notebook | None = None, *, cut: bool = False) -> Outcome:
    intent = Intent((who,), {"br0": "a test says so"})
    outcome = apply(WriterLock(), lambda: intent, kernel, notes=notes or Notebook(), known=Known(cut=cut))
    assert outcome.complete
    return outcome


def told(outcome: Outcome, code: Code = Code.ADDRESS_IN_USE) -> list[str]:
    return [finding.message for finding in outcome.view.plan.findings if finding.code is code]


@pytest.mark.parametrize("used", [(VRRP,), (NESTED,), (OWN, VRRP, NESTED)])
def test_what_is_in_use_stays_reached_and_is_told(used: tuple[str, ...]) -> None:
    kernel = host(*used)
    outcome = applied(kernel, guest())
    strange = [mac for mac in used if mac != OWN]
    for mac in used:
        assert kernel.deliver("br0", "eth0", mac) == {"vnet1"}
    assert kernel.ports["vnet1"].flags == OPEN
    assert kernel.fdb["br0", OWN, 0] == Entry(OWN, 0, "vnet1", sticky=True)
    (message,) = told(outcome)
    assert all(mac in message for mac in strange)
    assert len(told(outcome, Code.LEARNED_ON_MANAGED_PORT)) == len(strange)
    assert not any(fix_of(finding).text.startswith("bridge") for finding in outcome.view.plan.findings)


def test_thousands_of_addresses_are_not_searched_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest may send from as many as it likes, and each hook and each round of the daemon would pay for it."""

    class Unsearched(list[str]):
        def __contains__(self, mac: object) -> bool:
            raise AssertionError("searched")

    def found(*args: Any) -> list[str]:
        return Unsearched(addresses_in_use(*args))

    monkeypatch.setattr(planner, "addresses_in_use", found)
    assert told(applied(host(VRRP, NESTED), guest()))


def test_a_word_of_consent_closes_the_port() -> None:
    kernel, notes = host(VRRP), Notebook()
    applied(kernel, guest(), notes)
    outcome = applied(kernel, guest(), notes, cut=True)
    assert (kernel.ports["vnet1"].flags, told(outcome)) == (CLOSED, [])
    assert ("br0", VRRP, 0) not in kernel.fdb


@pytest.mark.parametrize("allow", [VRRP, "00:00:5e:00:01:*"])
def test_what_is_allowed_needs_no_consent(allow: str) -> None:
    kernel = host(VRRP)
    assert told(applied(kernel, guest(allow))) == []
    assert kernel.ports["vnet1"].flags == CLOSED


def test_what_a_prefix_allows_gets_its_entry_before_the_port_is_closed() -> None:
    """The daemon need not have seen it: what the kernel has learned would age behind the closed port."""
    kernel, virtual_router = host(VRRP), guest("00:00:5e:00:01:*")
    for _ in range(2):
        applied(kernel, virtual_router)
        assert kernel.fdb["br0", VRRP, 0] == Entry(VRRP, 0, "vnet1"), "plain: it may roam"


def test_once_nothing_is_in_use_any_more_the_port_is_closed() -> None:
    kernel, notes = host(VRRP), Notebook()
    applied(kernel, guest(), notes)
    kernel.lose_entry("br0", VRRP, 0)
    assert told(applied(kernel, guest(), notes)) == []
    assert kernel.ports["vnet1"].flags == CLOSED


@pytest.mark.parametrize("flags", [OPEN, PortFlags(learning=True, unicast_flood=False)])
def test_no_guest_keeps_a_port_open_that_was_closed_before(flags: PortFlags) -> None:
    """Somebody opens it for a moment, and the guest sends from many addresses."""
    kernel, notes = host(), Notebook()
    applied(kernel, guest(), notes)
    written = document_of({"": notes.memory}, "b")
    again = Notebook(parse_document(written, "b")[0][""])
    kernel.set_flags("vnet1", flags)
    for number in range(20):
        kernel.frame("vnet1", f"02:00:00:00:01:{number:02x}", "ff:ff:ff:ff:ff:ff")
    assert told(applied(kernel, guest(), again)) == []
    assert kernel.ports["vnet1"].flags == CLOSED
    assert not [entry for entry in kernel.fdb.values() if entry.mac.startswith("02:00:00:00:01")]


def test_but_another_port_of_that_name_was_not() -> None:
    kernel, notes = host(), Notebook()
    applied(kernel, guest(), notes)
    kernel.make_port_again("vnet1")
    kernel.frame("vnet1", VRRP, "ff:ff:ff:ff:ff:ff")
    assert len(told(applied(kernel, guest(), notes))) == 1
    assert kernel.ports["vnet1"].flags == OPEN


def test_a_lock_is_consent() -> None:
    """It says that no frame from any other address is to be taken there."""
    kernel = host(VRRP)
    assert told(applied(kernel, guest(lock=True))) == []
    assert kernel.ports["vnet1"].flags == replace(CLOSED, locked=True)


def test_a_port_that_is_closed_has_nothing_that_is_in_use() -> None:
    kernel = host(VRRP, flags=CLOSED)
    assert told(applied(kernel, guest())) == []
    assert ("br0", VRRP, 0) not in kernel.fdb


def test_forty_addresses_are_told_in_one_breath() -> None:
    macs = [f"52:54:00:cc:00:{number:02x}" for number in range(40)]
    outcome = applied(host(*macs), guest())
    (one,) = told(outcome, Code.LEARNED_ON_MANAGED_PORT)
    assert one.startswith(
        f"40 addresses are in use behind vnet1 that nothing gives to vr1 ({', '.join(macs[:3])} and 37"
    )
    assert "and 32 more" in told(outcome)[0]
    (finding,) = [each for each in outcome.view.plan.findings if each.code is Code.LEARNED_ON_MANAGED_PORT]
    assert f"<macmgr:interface mac='{OWN}' manager='kernel'/> in the metadata of vr1" in fix_of(finding).text


@pytest.mark.parametrize("flags", [OPEN, CLOSED])  # libvirt closes its own managed NICs' ports at once
def test_an_address_that_somebody_on_the_lan_uses_is_not_taken_by_an_allowance(flags: PortFlags) -> None:
    """The LAN's router keeps its entry, and gets the frames that are for it."""
    kernel = host(flags=flags)
    kernel.frame("eth0", VRRP, "ff:ff:ff:ff:ff:ff")
    outcome = applied(kernel, guest(VRRP))
    assert kernel.fdb["br0", VRRP, 0] == Entry(VRRP, 0, "eth0", EntryState.DYNAMIC)
    assert kernel.ports["vnet1"].flags == OPEN  # it learns when the guest has the address, as after a migration
    assert kernel.fdb["br0", OWN, 0] == Entry(OWN, 0, "vnet1", sticky=True)
    assert "but somebody uses it on eth0" in told(outcome)[0]


def test_a_port_that_was_closed_before_is_not_opened_for_it() -> None:
    kernel, notes = host(), Notebook()
    applied(kernel, guest(), notes)
    kernel.frame("eth0", VRRP, "ff:ff:ff:ff:ff:ff")
    assert len(told(applied(kernel, guest(VRRP), notes))) == 1
    assert kernel.ports["vnet1"].flags == CLOSED
    assert kernel.fdb["br0", VRRP, 0].port == "eth0"


def test_once_the_guest_has_it_it_is_the_guests() -> None:
    kernel, notes = host(), Notebook()
    kernel.frame("eth0", VRRP, "ff:ff:ff:ff:ff:ff")
    applied(kernel, guest(VRRP), notes)
    kernel.frame("vnet1", VRRP, "ff:ff:ff:ff:ff:ff")
    assert told(applied(kernel, guest(VRRP), notes)) == []
    assert kernel.fdb["br0", VRRP, 0] == Entry(VRRP, 0, "vnet1", sticky=True)
    assert kernel.ports["vnet1"].flags == CLOSED


def test_a_guests_own_address_is_put_wherever_it_was_learned() -> None:
    """It may have just come from another host: the uplink has learned it there."""
    kernel = host()
    kernel.frame("eth0", OWN, "ff:ff:ff:ff:ff:ff")
    assert told(applied(kernel, guest())) == []
    assert kernel.fdb["br0", OWN, 0] == Entry(OWN, 0, "vnet1", sticky=True)


def test_consent_takes_it() -> None:
    kernel = host()
    kernel.frame("eth0", VRRP, "ff:ff:ff:ff:ff:ff")
    assert told(applied(kernel, guest(VRRP), cut=True)) == []
    assert kernel.fdb["br0", VRRP, 0] == Entry(VRRP, 0, "vnet1", sticky=True)


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("flags", [OPEN, CLOSED])
def test_an_administrators_static_entry_is_not_taken_by_an_allowance(flags: PortFlags, sticky: bool) -> None:
    kernel, notes = host(flags=flags), Notebook()
    fixed = Entry(NESTED, 0, "eth0", sticky=sticky)
    kernel.set_entry(fixed)
    for _ in range(2):
        outcome = applied(kernel, guest(NESTED), notes)
        assert kernel.fdb["br0", NESTED, 0] == fixed
        assert "somebody has put a static entry for it on eth0" in told(outcome)[0]
        assert Code.LEFT_ON_UPLINK not in {each.code for each in outcome.view.plan.findings}  # it is asked for
    assert kernel.ports["vnet1"].flags == CLOSED
    kernel.lose_entry("br0", NESTED, 0)
    applied(kernel, guest(NESTED), notes)
    assert kernel.fdb["br0", NESTED, 0].port == "vnet1"


def test_the_guests_own_entry_that_a_frame_has_moved_there_is_brought_back() -> None:
    kernel, notes = host(), Notebook()
    applied(kernel, guest(NESTED, pin=Pin.STATIC), notes)
    kernel.set_entry(Entry(NESTED, 0, "eth0"))
    applied(kernel, guest(NESTED, pin=Pin.STATIC), notes)
    assert kernel.fdb["br0", NESTED, 0].port == "vnet1"


def test_a_virtual_router_that_has_moved_to_the_lan_is_not_brought_back() -> None:
    """An exact allow of one is a mistake, and told as one; the one on the LAN keeps it."""
    kernel, notes = host(), Notebook()
    applied(kernel, guest(VRRP, pin=Pin.STATIC), notes)
    kernel.set_entry(Entry(VRRP, 0, "eth0"))
    outcome = applied(kernel, guest(VRRP, pin=Pin.STATIC), notes)
    assert kernel.fdb["br0", VRRP, 0].port == "eth0"
    assert Code.STOLEN_ENTRY not in {each.code for each in outcome.view.plan.findings}


def test_what_a_guest_has_left_on_a_tap_that_stayed_behind_is_brought_along() -> None:
    """QEMU has crashed and its tap is still there; the guest was started again, with another one."""
    kernel, notes = host(), Notebook()
    applied(kernel, guest(NESTED), notes)
    kernel.ports["vnet2"] = replace(
        kernel.ports["vnet1"], name="vnet2", ifindex=77, mac="fe:54:00:00:00:77", flags=OPEN
    )
    kernel.masters["vnet2"] = "br0"
    applied(kernel, replace(guest(NESTED), port="vnet2"), notes)
    assert {kernel.fdb["br0", mac, 0].port for mac in (OWN, NESTED)} == {"vnet2"}
