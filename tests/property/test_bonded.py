"""An address that the NICs of a guest share is on one of them: the one that the guest last sent from."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.onlooker import ALERTS, NEIGHBOUR, OTHER, OWN, Host, guest

MACS = (OWN, NEIGHBOUR, OTHER)
PORTS = ("vnet0", "vnet1", "vnet2")
STEPS = st.tuples(
    st.sampled_from(PORTS), st.sampled_from(MACS), st.sampled_from(["", "", "restart", "forget", "put back"])
)


@given(st.lists(STEPS, max_size=8), st.booleans())
def test_it_is_where_the_guest_last_sent_from(steps: list[tuple[str, str, str]], lock: bool) -> None:
    policy = replace(ALERTS, allow=("own",), lock=lock)
    host = Host([replace(guest(policy, *each), shared=MACS) for each in zip(PORTS, MACS, strict=True)])
    places = dict(zip(MACS, PORTS, strict=True))
    for port, mac, then in steps:
        host.sees(mac, port=port)
        places[mac] = port
        if then == "restart":
            host.restarts()
        elif then == "forget":
            host.records = ()
            host.round()
        elif then == "put back" and any(mac in record.macs for record in host.records):
            home = PORTS[MACS.index(mac)]
            for key in [key for key in host.kernel.fdb if key[1] == mac]:
                host.kernel.fdb[key] = host.kernel.fdb[key]._replace(port=home)
            host.round()
        assert {each: host.port_of(each) for each in MACS} == places
        assert host.codes == set()
        assert not host.round().plan.changes
        for each, place in places.items():
            assert host.kernel.frame("eth0", "02:00:00:00:00:77", each) == {place}
