"""allow='own': the NICs of one domain on one bridge share their addresses, and each is in writing for one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.config import parse_config, read_config
from macmgr.model.intent import OWN, GuestMac, GuestPort, Manager, Settings
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.document import read_with
from macmgr.readers.domain import Domain, Nic, read_domain_status

FIRST, SECOND, FURTHER = "52:54:00:aa:00:01", "52:54:00:aa:00:02", "52:54:00:aa:00:81"
ALL = Settings(Manager.LIBVIRT, allow=(OWN,))
PLAIN = Settings(Manager.LIBVIRT)


def nic(mac: str, tap: str, bridge: str = "br0", current: str = "") -> Nic:
    return Nic(mac, "bridge", "bridge", bridge=bridge, tap=tap, alias=tap, current_mac=current)


def ports(*nics: Nic, whole: Settings = ALL, **metadata: Settings) -> list[GuestPort]:
    by_mac = {"": whole, **{each.mac: metadata[each.tap] for each in nics if each.tap in metadata}}
    domain = replace(Domain("web1", "u", "qemu", nics, by_mac), state="running")
    return list(build_intent([domain], PolicySources([], {"br0": PLAIN})).ports)


BOTH = nic(FIRST, "vnet0"), nic(SECOND, "vnet1")


def test_both_say_so() -> None:
    for port, own in zip(ports(*BOTH), (FIRST, SECOND), strict=True):
        assert (port.macs, set(port.shared)) == ((own,), {FIRST, SECOND})


@pytest.mark.parametrize("who", ["vnet0", "vnet1"])
def test_one_alone_says_nothing(who: str) -> None:
    assert [port.shared for port in ports(*BOTH, whole=PLAIN, **{who: ALL})] == [(), ()]


def test_nics_on_two_bridges_and_a_nic_alone_share_nothing() -> None:
    assert [port.shared for port in ports(nic(FIRST, "vnet0"), nic(SECOND, "vnet1", "br1"))] == [(), ()]
    assert ports(nic(FIRST, "vnet0"))[0].shared == ()


def test_a_nic_that_is_left_to_the_kernel_shares_nothing() -> None:
    left = Settings(Manager.KERNEL)
    assert [port.shared for port in ports(*BOTH, vnet1=left)] == [(), ()]


def test_the_very_address_of_the_other_is_shared_too() -> None:
    """Who writes one NIC's address under another's allow means a bond: pinned to two ports it cannot be."""
    one, other = ports(*BOTH, whole=PLAIN, vnet1=Settings(allow=(FIRST, FURTHER)))
    assert (one.macs, one.shared) == ((FIRST,), ())
    assert (other.macs, other.shared) == ((SECOND, FURTHER), (FIRST,))


def test_what_both_are_allowed_is_the_first_ones() -> None:
    allow = Settings(allow=(FURTHER, "00:00:5e:00:01:*"))
    one, other = ports(*BOTH, vnet0=allow, vnet1=allow)
    assert (one.macs, other.macs) == ((FIRST, FURTHER), (SECOND,))
    assert {FIRST, SECOND, FURTHER, "00:00:5e:00:01:*"} == set(other.shared) == set(one.shared)


@pytest.mark.parametrize("reaction", list(GuestMac))
def test_that_a_nic_has_the_bonds_address_is_no_change(reaction: GuestMac) -> None:
    whole = Settings(Manager.LIBVIRT, guest_mac=reaction, allow=(OWN,))
    one, other = ports(nic(FIRST, "vnet0"), nic(SECOND, "vnet1", current=FIRST), whole=whole)
    assert (one.macs, other.macs) == ((FIRST,), (SECOND,))
    assert (other.facts.said_mac, other.facts.current_mac) == ("", "")


def test_two_nics_with_one_address_keep_it_both() -> None:
    """A mistake that is reported where the addresses are given out."""
    assert [port.macs for port in ports(nic(FIRST, "vnet0"), nic(FIRST, "vnet1"))] == [(FIRST,), (FIRST,)]


def test_the_words_in_metadata() -> None:
    xml = """<domstatus state='running'><domain type='kvm'><name>web1</name><uuid>u</uuid><metadata>
<m:macTable xmlns:m='urn:macmgr:mactable:1' {}><m:interface mac='52:54:00:aa:00:01' {}>{}</m:interface></m:macTable>
</metadata></domain></domstatus>"""

    def read(whole: str = "", one: str = "", inner: str = "") -> Domain:
        return read_with(read_domain_status, xml.format(whole, one, inner).encode(), "web1.xml")

    assert read("allow='own'").metadata[""].allow == (OWN,)
    assert read(one="allow='own'", inner=f"<m:allow mac='{FURTHER}'/>").metadata[FIRST].allow == (OWN, FURTHER)
    wrong = read(one=f"allow='{FURTHER}'").problem
    assert "web1.xml:2: allow is" in wrong
    assert "allowed: own" in wrong
    assert "<macmgr:allow mac='…'/>" in wrong
    assert "write allow='own' on the element around it" in read(inner="<m:allow mac='own'/>").problem
    assert "did you mean 'own'?" in read("allow='Own'").problem


def test_the_word_in_the_configuration() -> None:
    text = '[bridge."br0"]\nallow = ["own", "52:54:00:aa:00:81"]\n'
    assert parse_config(text.encode(), "m.toml").bridges["br0"].allow == (OWN, FURTHER)
    _, problems = read_config(b'[bridge."br0"]\nallow = "own"\n')
    assert "a list is expected" in problems[0].text
