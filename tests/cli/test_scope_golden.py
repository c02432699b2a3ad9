"""A verb with a scope prints, counts and judges that part of the host alone: table, verdict, exit code and JSON.

web1 is in sync. web2 has no entry on the same bridge, and web3 is on another network with a fault of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Host
from tests.conftest import Golden

HERE = Path(__file__).parent / "scope"
SCOPES = {
    "domain": ("--domain", "web1"),
    "broken-domain": ("--domain", "web2"),
    "bridge": ("--bridge", "br-b"),
    "network": ("--network", "dmz"),
    "domain-and-bridge": ("--domain", "web1", "--bridge", "br-a"),
}
VERBS = ("audit", "plan", "show", "apply")
OTHERS = {
    "domain": ("web2", "web3", "vnet1", "vnet2", "br-b", "dmz"),
    "broken-domain": ("web1", "web3", "vnet0", "vnet2", "br-b", "dmz"),
    "bridge": ("web1", "web2", "vnet0", "vnet1", "br-a", "front"),
    "network": ("web1", "web2", "vnet0", "vnet1", "br-a", "front"),
    "domain-and-bridge": ("web2", "web3", "vnet1", "vnet2", "br-b", "dmz"),
}


def answered(host: Host, *words: str) -> str:
    if words[0] == "release":
        host.macmgr("apply")  # else there is nothing to give back
    said = host.macmgr(*words)
    assert said.stderr == ""
    text = f"$ macmgr {' '.join(words)}\n{said.stdout}exit code {said.code}\n"
    host.start_over()
    if words[0] == "release":
        host.macmgr("apply")
    document = json.loads(host.macmgr(*words[:1], "--json", *words[1:]).stdout)
    document.pop("host", None)
    document.pop("taken_at", None)
    text += json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.case("one-of-three-in-sync")
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_is_all_that_a_verb_speaks_of(host: Host, verb: str, scope: str, golden: Golden) -> None:
    text = answered(host, verb, *SCOPES[scope])
    golden(HERE / f"{verb}-{scope}.txt", text)
    for name in OTHERS[scope]:
        assert name not in text, f"{verb} {scope} speaks of {name}"


@pytest.mark.case("one-of-three-in-sync")
@pytest.mark.parametrize(("scope", "code"), [("domain", 0), ("broken-domain", 1), ("bridge", 1), ("network", 1)])
def test_an_apply_changes_its_scope_alone_and_says_if_that_is_in_sync(host: Host, scope: str, code: int) -> None:
    assert host.macmgr("audit", *SCOPES[scope]).code == code
    assert host.macmgr("apply", *SCOPES[scope]).code == 0
    assert bool(host.kernel.sent) == bool(code)
    assert host.macmgr("audit", *SCOPES[scope]).code == 0
    assert host.macmgr("audit").code == 1, "the rest of the host is as it was"


@pytest.mark.case("one-of-three-in-sync")
@pytest.mark.parametrize("words", [("release", "--bridge", "br-b"), ("doctor", "br-b")], ids=lambda words: words[0])
def test_a_bridge_is_the_scope_of_the_verbs_that_take_no_other(
    host: Host, words: tuple[str, ...], golden: Golden
) -> None:
    text = answered(host, *words)
    golden(HERE / f"{words[0]}-bridge.txt", text)
    for name in OTHERS["bridge"]:
        assert name not in text
