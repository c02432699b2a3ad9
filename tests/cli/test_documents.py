"""Each document that a verb prints is as its schema in docs/ says, on the host of every golden case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from macmgr import paths
from tests.cli.conftest import Host
from tests.golden.case import CASES

HERE = Path(__file__).parents[2]
SCHEMAS = {path.name.split("-")[0]: json.loads(path.read_text()) for path in HERE.glob("docs/*-v1.schema.json")}
# status is what the daemon says: tests/unit/watch/test_watch_counters.py; of several hosts: test_compare.py
VERBS = sorted(SCHEMAS.keys() - {"status", "compare"})


def closed(schema: Any) -> Any:
    """The schema, where a field that it does not describe is a mistake. Readers must not mind one; we do."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if schema.get("type") == "object" and "properties" in schema else {}
    return {name: closed(each) for name, each in schema.items()} | more


REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(closed(schema))) for schema in SCHEMAS.values()
)


VALIDATORS = {
    verb: jsonschema.Draft202012Validator(closed(schema), registry=REGISTRY) for verb, schema in SCHEMAS.items()
}


def validate(verb: str, text: str) -> None:
    VALIDATORS[verb].validate(json.loads(text))


@pytest.mark.parametrize("verb", SCHEMAS)
def test_the_schema_is_one(verb: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[verb])
    assert SCHEMAS[verb]["$id"] == f"urn:macmgr:{verb}:1"


@pytest.mark.parametrize(
    "name", [pytest.param(case.name, marks=pytest.mark.case(case.name)) for case in CASES], ids=lambda name: str(name)
)
def test_every_document_is_as_its_schema_says(host: Host, name: str) -> None:
    host.kernel.too_long = {*json.loads((CASES[0].parent / name / "snapshot.json").read_text()).get("too long", ())}
    things = {*host.kernel.bridges, *host.kernel.ports}
    audited = host.macmgr("audit", "--json").stdout
    things |= {port["domain"] for bridge in json.loads(audited)["bridges"] for port in bridge["ports"]} - {None}
    validate("audit", audited)
    for thing in sorted(things):
        validate("explain", host.macmgr("explain", thing, "--json").stdout)
    for bridge in host.kernel.bridges:
        validate("trace", host.macmgr("trace", "--from", bridge, "--to", "ff:ff:ff:ff:ff:ff", "--json").stdout)
    for verb in ("plan", "show", "doctor", "apply", "release"):
        validate(verb, host.macmgr(verb, "--json").stdout)


@pytest.mark.case("conflict-vlan-without-filtering")
def test_a_refusal_of_vlan_filtering_is_too(host: Host) -> None:
    said = host.macmgr("apply", "--vlan-filtering", "br0", "--json")
    assert said.code == 1
    validate("apply", said.stdout)


@pytest.mark.case("nothing-managed")
@pytest.mark.parametrize("verb", ["manage", "observe"])
def test_a_mode_that_is_set_is_too(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(paths, "HOOK_SOCKET", tmp_path / "hook.sock")
    said = host.macmgr(verb, "br0", "--json")
    assert (said.code, said.stderr) == (0, "")
    validate("manage", said.stdout)
    document = json.loads(said.stdout)
    lines = host.config.read_text().splitlines()
    options = {each["name"]: each["value"] for each in document["options"]}
    assert options == {"mode": verb, "mac_table_manager": "libvirt"}
    for each in document["options"]:
        assert lines[each["line"] - 1] == f'{each["name"]} = "{each["value"]}"'
    planned = json.loads(host.macmgr("plan", "--bridge", "br0", "--json").stdout)
    assert document["commands"] == [*planned["commands"], *planned["observed"]] != []
    assert (document["bridge"], document["config"], document["written"]) == ("br0", str(host.config), True)
    assert document["managed_ports"] == document["guest_ports"] > 0
    assert document["daemon_runs"] is False
    again = json.loads(host.macmgr(verb, "br0", "--json").stdout)
    assert again == document | {"written": False, "options": document["options"][:1]}


@pytest.mark.case("nothing-managed")
def test_a_mode_of_a_bridge_that_is_not_here_yet_is_too(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "HOOK_SOCKET", tmp_path / "hook.sock")
    host.config.write_text('[bridge."br9"]\nmac_table_manager = "libvirt"\n')
    said = host.macmgr("manage", "br9", "--json")
    validate("manage", said.stdout)
    document = json.loads(said.stdout)
    assert [document[name] for name in ("commands", "guest_ports", "managed_ports")] == [None] * 3
    assert "does not exist here yet" in said.stderr


def test_every_verb_that_prints_its_own_document_has_a_schema() -> None:
    assert VERBS == ["apply", "audit", "doctor", "explain", "manage", "plan", "release", "show", "trace"]
    assert "docs/*-v1.schema.json" in (HERE / "README.rst").read_text()


@pytest.mark.parametrize("verb", ["plan", "show", "explain", "doctor", "apply", "release", "trace"])
def test_a_field_that_no_schema_describes_is_found(host: Host, verb: str) -> None:
    more = {"explain": ("br0",), "trace": ("--from", "br0", "--to", "ff:ff:ff:ff:ff:ff")}
    words = (verb, *more.get(verb, ()))
    document = json.loads(host.macmgr(*words, "--json").stdout)
    validate(verb, json.dumps(document))
    for broken in (document | {"more": 1}, {name: said for name, said in document.items() if name != "version"}):
        with pytest.raises(jsonschema.ValidationError):
            validate(verb, json.dumps(broken))
