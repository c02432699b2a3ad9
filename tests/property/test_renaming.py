"""New addresses are as different, as ordered, and as alike in their beginnings as the old ones were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from macmgr.capture.renaming import make_renaming
from macmgr.model.mac import matches

_OCTETS = st.sampled_from(["00", "01", "02", "0a", "52", "54", "5e", "aa", "fe", "ff"])
MACS = st.lists(_OCTETS, min_size=6, max_size=6).map(":".join)
PREFIXES = st.lists(_OCTETS, min_size=1, max_size=5).map(lambda octets: ":".join([*octets, "*"]))


@given(st.lists(MACS, max_size=30), st.lists(PREFIXES, max_size=6))
def test_what_decides_about_addresses_stays(macs: list[str], prefixes: list[str]) -> None:
    renaming = make_renaming([], [macs, [prefix for prefix in prefixes if prefix.count(":") > 3]], ())
    new = {mac: renaming.in_text(mac) for mac in macs}
    assert len(set(new.values())) == len(set(macs))
    assert [new[mac] for mac in sorted(new)] == sorted(new.values())
    assert all(mac[:8] == after[:8] for mac, after in new.items())
    tails: dict[str, set[str]] = {}
    for mac, after in new.items():
        if mac[9:] != after[9:]:
            tails.setdefault(mac[9:], set()).add(after[9:])
    assert all(len(after) == 1 for after in tails.values())
    for prefix in prefixes:
        after = renaming.in_text(prefix)
        assert [matches(after, new[mac]) for mac in macs] == [matches(prefix, mac) for mac in macs]


@given(st.lists(st.text(min_size=1), unique=True))
def test_names_keep_their_order_and_stay_different(names: list[str]) -> None:
    renaming = make_renaming([("domain", name) for name in names], [], ())
    new = [renaming.renamed("domain", name) for name in sorted(names)]
    assert new == sorted(set(new))
