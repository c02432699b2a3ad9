"""Each verb: what it prints, where, and which exit code of the contract it ends with."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import jsonschema
import pytest

from macmgr.model.snapshot import Entry, EntryState
from macmgr.state import lock, memory
from tests.cli.conftest import CASES, Clock, Host

on = pytest.mark.case
OBSERVED = '[bridge.br0]\nmode = "observe"\n'
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "audit-v1.schema.json").read_text())


def golden_text(case: str, name: str) -> str:
    return (CASES / case / name).read_text()


def test_audit_of_a_host_in_sync(host: Host) -> None:
    said = host.macmgr("audit")
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.splitlines()[0] == "In sync: 3 managed ports, 0 errors, 0 warnings, 0 info."


@on("drift")
def test_audit_of_a_host_with_drift(host: Host) -> None:
    said = host.macmgr("audit")
    assert (said.code, said.stderr) == (1, "")
    assert [line.rstrip() for line in said.stdout.splitlines()] == golden_text("drift", "audit.txt").splitlines()


@on("conflict-lock-and-static")
@pytest.mark.parametrize(("words", "code"), [((), 0), (("--strict",), 1)])
def test_warnings_count_where_they_are_asked_to(host: Host, words: tuple[str, ...], code: int) -> None:
    host.config.write_text('[bridge.br0]\npin = "static"\n')
    assert host.macmgr("audit", *words).code == code


@on("conflict-lock-and-static")
def test_the_configuration_can_be_strict(host: Host) -> None:
    host.config.write_text('[bridge.br0]\npin = "static"\n[audit]\nstrict = "yes"\n')
    assert host.macmgr("audit").code == 1


@on("drift")
@pytest.mark.parametrize("words", [("--json",), ("--format", "json"), ("--format=json", "--bridge", "br0")])
def test_audit_as_json(host: Host, words: tuple[str, ...]) -> None:
    said = host.macmgr("audit", *words)
    document = json.loads(said.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    wanted = json.loads(golden_text("drift", "audit.json"))
    for each in (document, wanted):
        each.pop("host")
        each.pop("taken_at")
    assert document == wanted
    assert (said.code, said.stderr) == (1, "")


@on("drift")
def test_plan_changes_nothing(host: Host) -> None:
    before = host.kernel.read_snapshot()
    said = host.macmgr("plan")
    assert (said.code, said.stdout, said.stderr) == (1, golden_text("drift", "plan.txt"), "")
    assert (host.kernel.read_snapshot(), host.kernel.sent) == (before, [])


@on("drift")
def test_plan_as_json_has_the_same_commands(host: Host) -> None:
    said = host.macmgr("plan", "--json")
    commands = [" ".join(words) for words in json.loads(said.stdout)["commands"]]
    lines = (line.split("#")[0].strip() for line in golden_text("drift", "plan.txt").splitlines())
    assert commands == [line for line in lines if line]


def test_plan_of_a_host_in_sync(host: Host) -> None:
    said = host.macmgr("plan")
    assert (said.code, said.stdout) == (0, "# nothing to change\n")


@on("drift")
def test_apply_repairs_and_says_what(host: Host) -> None:
    said = host.macmgr("apply")
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.splitlines()[0] == "7 changes made and read back."
    assert host.macmgr("audit").code == 0
    assert host.macmgr("apply").stdout == "Nothing had to be changed.\n"


@on("drift")
def test_apply_of_one_domain_leaves_the_others(host: Host) -> None:
    assert host.macmgr("apply", "--domain", "web1").code == 0
    assert host.macmgr("plan", "--domain", "web1").code == 0
    assert host.macmgr("plan").code == 1


@on("drift")
def test_what_could_not_be_made_is_told(host: Host) -> None:
    host.kernel.refuses_puts.add("vnet0")
    said = host.macmgr("apply")
    assert said.code == 1
    assert "failed" in said.stdout
    assert " remain to be made: 'macmgr audit' says which and why." in said.stdout.splitlines()[0]
    document = json.loads(host.macmgr("apply", "--json").stdout)
    assert not document["complete"]
    assert document["failed"]


@on("drift")
def test_what_is_only_observed_is_left_out_and_told(host: Host) -> None:
    """Nobody is told that it cannot be repaired, nor that all is done; and naming the bridge does it."""
    host.config.write_text(OBSERVED)
    said = host.macmgr("apply")
    assert said.code == 1
    answer = "Nothing was changed. 2 guests are still cut off: web2 (missing-entry), web3 (missing-entry). "
    assert said.stdout.startswith(f"{answer}7 changes are left out: br0 is only observed.\n")
    document = json.loads(host.macmgr("apply", "--json").stdout)
    assert (document["complete"], document["remaining"], document["spared"]) == (False, 0, 7)
    assert host.kernel.sent == []
    document = json.loads(host.macmgr("apply", "--json", "--bridge", "br0").stdout)
    assert (document["complete"], document["remaining"], document["spared"]) == (True, 0, 0)


@on("drift")
def test_what_cannot_be_repaired_is_told_beside_what_is_left_out(host: Host) -> None:
    host.config.write_text(OBSERVED)
    host.kernel.remove_port("vnet0")
    answer = host.macmgr("apply").stdout.splitlines()[0]
    assert answer.endswith(" 1 error needs you: web1. 5 changes are left out: br0 is only observed.")


@on("drift")
def test_so_is_an_entry_that_only_a_person_can_clear(host: Host) -> None:
    """In a VID that the uplink has lost, a flush would take along what somebody else put there."""
    host.config.write_text(OBSERVED)
    for mac in ("52:54:00:aa:00:01", "52:54:00:99:99:99"):
        host.kernel.fdb["br0", mac, 7] = Entry(mac, 7, "eth0", EntryState.STATIC)
    answer = host.macmgr("apply").stdout.splitlines()[0]
    assert answer.endswith(" 1 error needs you: web1. 7 changes are left out: br0 is only observed.")


@on("mac-collision")
def test_apply_says_what_it_cannot_repair_and_for_whom(host: Host) -> None:
    """A script that goes on after exit code 0 must not leave a guest behind that only a person can help."""
    host.macmgr("apply")
    said = host.macmgr("apply")
    assert (said.code, said.stdout.splitlines()[0]) == (
        1,
        "Nothing had to be changed. 3 guests are still cut off: web1 (mac-collision), web2 (mac-collision), web3 "
        "(mac-collision). 4 errors need you: web1, web2, web3.",
    )
    assert said.stdout.count("error * mac-collision") == 4
    document = json.loads(host.macmgr("apply", "--json").stdout)
    assert (document["complete"], document["remaining"]) == (False, 0)
    assert [each["code"] for each in document["left"]] == ["mac-collision"] * 4


def test_show(host: Host) -> None:
    said = host.macmgr("show", "--bridge", "br0")
    assert (said.code, said.stderr) == (0, "")
    assert [line.split()[1] for line in said.stdout.splitlines() if line.startswith(" ")] == [
        *("DOMAIN", "eth0", "vnet0", "vnet1", "vnet2")
    ]
    assert json.loads(host.macmgr("show", "--json").stdout)["bridges"][0]["name"] == "br0"


@on("drift")
def test_explain_a_bridge(host: Host) -> None:
    said = host.macmgr("explain", "br0").stdout
    audited = json.loads(host.macmgr("audit", "--json").stdout)
    (bridge,) = [each for each in audited["bridges"] if each["name"] == "br0"]
    answer, facts = said.split("\n\n")
    assert facts.startswith(f"br0 is a bridge with {len(bridge['ports'])} ports.\n")
    assert f"managed: {bridge['reason']}\n" in facts
    assert all(f"port {port['port']}" in facts for port in bridge["ports"])
    assert answer.startswith("br0: ")
    errors = [each["message"] for each in audited["findings"] if each["severity"] == "error"]
    assert [message in answer for message in errors] == [True] * 5 + [False] * (len(errors) - 5)
    assert answer.endswith(f"{len(audited['findings']) - 5} more findings: 'macmgr audit --bridge=br0'")


@on("nothing-managed")
def test_explain_a_bridge_that_is_not_managed(host: Host) -> None:
    said = host.macmgr("explain", "virbr0").stdout
    assert "not managed: no network, no guest and no configuration asks for it\n" in said
    assert said.startswith("virbr0: Nothing is managed in what was asked about")


def test_explain(host: Host) -> None:
    said = host.macmgr("explain", "web1")
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.startswith("web1 is reached ")
    assert "\n\nvnet0 is net0 of web1, on br0.\n" in said.stdout


@on("names")
def test_names_with_spaces_quotes_and_unicode(host: Host) -> None:
    for name in ('it\'s "g one" & <more>', "größe-机-😀", "[bold]g[/bold]"):
        assert host.macmgr("audit", "--domain", name).code == (1 if "😀" in name else 0)
        assert f"of {name}, on br0." in host.macmgr("explain", name).stdout
    assert host.macmgr("audit", "--network", "office lan").code == 1


@pytest.mark.parametrize(
    "words",
    [
        *((verb, option, "") for verb in ("audit", "plan", "apply", "show") for option in ("--domain", "--bridge")),
        ("apply", "--network", ""),
        ("apply", "--vlan-filtering", ""),
        ("release", "--bridge", ""),
        ("doctor", ""),
        ("explain", ""),
    ],
    ids=" ".join,
)
@on("drift")
def test_an_empty_name_is_not_the_whole_host(host: Host, words: tuple[str, ...]) -> None:
    """A script gives one where its variable is not set."""
    assert host.macmgr(*words).code == 69
    assert host.kernel.sent == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("audit", "--domain", "g9"), "domain 'g9' does not run here; see 'virsh list'"),
        (("apply", "--domain", "g9"), "domain 'g9' does not run here; see 'virsh list'"),
        (
            ("plan", "--bridge", "br9"),
            "bridge 'br9' does not exist here; see 'ip link show type bridge'; did you mean 'br0'?",
        ),
        *(
            (words, "bridge 'br00' does not exist here; see 'ip link show type bridge'; did you mean 'br0'?")
            for words in (("doctor", "br00"), ("release", "--bridge", "br00"), ("apply", "--vlan-filtering", "br00"))
        ),
        (("audit", "--domain", "wbe1"), "domain 'wbe1' does not run here; see 'virsh list'; did you mean 'web1'?"),
        (
            ("show", "--network", "lna"),
            "network 'lna' is not active here or has no bridge; see 'virsh net-list'; did you mean 'lan'?",
        ),
        (
            ("explain", "vnet00"),
            "'vnet00' is not a running domain, a bridge, a bridge port or a known MAC here; did you mean 'vnet0'?",
        ),
        (("show", "--network", "n9"), "network 'n9' is not active here or has no bridge; see 'virsh net-list'"),
        (("audit", "--network", "lan", "--bridge", "br9"), "network 'lan' is on br0, not br9"),
        (("explain", "g9"), "'g9' is not a running domain, a bridge, a bridge port or a known MAC here"),
    ],
)
def test_what_is_not_there_is_69(host: Host, words: tuple[str, ...], line: str) -> None:
    said = host.macmgr(*words)
    assert (said.code, said.stdout, said.stderr) == (69, "", f"macmgr: {line}\n")


def test_a_host_without_libvirt_is_69(host: Host, tmp_path: Path) -> None:
    said = host.macmgr("--run-dir", str(tmp_path / "nothing"), "audit")
    assert (said.code, said.stdout) == (69, "")
    assert said.stderr.startswith(f"macmgr: {tmp_path}/nothing: no such directory; libvirt has not run on this host")


@pytest.mark.parametrize("verb", ["audit", "plan", "apply", "show"])
def test_a_wrong_configuration_is_78_for_every_verb(host: Host, verb: str) -> None:
    host.config.write_text('[bridge.br0]\nmac_table_manger = "libvirt"\n')
    said = host.macmgr(verb)
    assert (said.code, said.stdout) == (78, "")
    assert said.stderr.startswith(f"macmgr: {host.config}:2: unknown name 'mac_table_manger'; allowed: ")
    assert said.stderr.endswith("did you mean 'mac_table_manager'?\n")
    assert host.kernel.sent == []


def test_a_configuration_that_was_named_and_is_missing_is_78(host: Host, tmp_path: Path) -> None:
    said = host.macmgr("audit", "--config", str(tmp_path / "none.toml"))
    assert (said.code, said.stderr) == (
        78,
        f"macmgr: {tmp_path}/none.toml: cannot be read: No such file or directory\n",
    )


@on("drift")
def test_another_writer_is_75(host: Host, lock_clock: Clock) -> None:
    with lock.hold():
        said = host.macmgr("apply")
    assert 0.3 <= lock_clock.now < 0.4  # as `host` shortens the wait
    assert (said.code, said.stdout, host.kernel.sent) == (75, "", [])
    assert said.stderr.startswith(f"macmgr: another macmgr is writing ({host.lock} is held by process {os.getpid()}, ")
    assert said.stderr.endswith("); nothing was changed, try again\n")


@on("unreadable-files")
def test_an_unreadable_file_is_a_finding_and_the_rest_goes_on(host: Host) -> None:
    said = host.macmgr("audit")
    assert (said.code, said.stderr) == (1, "")
    assert "vnet0" in said.stdout
    assert "hunter2" not in said.stdout


@on("unreadable-files")
@pytest.mark.parametrize("domain", ["truncated", "wrong-metadata"])
def test_a_domain_whose_file_is_unreadable_runs_and_is_told_so(host: Host, domain: str) -> None:
    """The domain is named by its file; it is no domain that does not run here."""
    said = host.macmgr("audit", "--domain", domain, "--json")
    assert (said.code, said.stderr) == (1, "")
    (finding,) = [each for each in json.loads(said.stdout)["findings"] if each["severity"] == "error"]
    assert (finding["code"], finding["domain"]) == ("unreadable-xml", domain)
    assert f"/qemu/{domain}.xml:" in finding["message"]
    assert host.macmgr("apply", "--domain", domain).code == 1, "an error is left, and no apply repairs it"
    assert host.kernel.sent == []


@on("unreadable-files")
def test_a_domain_that_no_unreadable_file_names_does_not_run(host: Host) -> None:
    """Neither a network's unreadable file nor another domain's stands for it."""
    assert host.macmgr("audit", "--domain", "wrong").code == 69


@pytest.mark.parametrize(
    "words",
    [
        ("unknown",),
        ("net",),
        ("audit", "--unknown"),
        ("explain",),
        ("audit", "--format", "xml"),
        ("hook", "xen", "a", "b"),
    ],
)
def test_wrong_usage_is_2(host: Host, words: tuple[str, ...]) -> None:
    said = host.macmgr(*words)
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.splitlines()[-1].startswith("macmgr")
    assert "error: " in said.stderr.splitlines()[-1]


@on("drift")
def test_a_release_that_cannot_read_what_is_remembered_is_not_done(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives the default back, and what the memory has of the ports is left to do."""

    def unreadable(*_: object) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    assert host.macmgr("apply").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(memory, "read_own", unreadable)
        answer = host.macmgr("release")
    assert answer.code == 1
    assert "state.json: cannot be read: Too many open files" in answer.stderr
    assert host.macmgr("release").code == 0
