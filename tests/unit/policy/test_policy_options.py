"""A policy option is one row of `macmgr.options`: where it is forgotten elsewhere, a test here or named here fails.

The pages are tests/unit/test_config_docs.py's, the schema for editors tests/unit/readers/test_schemas.py's.
"""

from __future__ import annotations

import ast
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from lxml import etree

import macmgr
from macmgr.config import read_config
from macmgr.model.intent import Intent, Manager, Policy, Settings
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from macmgr.options import OPTIONS, Option
from macmgr.planning.planner import plan
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.domain import Domain, read_domain_status
from macmgr.readers.metadata import NAMESPACE
from macmgr.report.explain import explain
from macmgr.view import View

TOP = Path(macmgr.__file__).parent
DOMAIN = """<domstatus state='running'><domain type='kvm'><name>web1</name><uuid>u</uuid><metadata>
<macTable xmlns='{}' {}/></metadata><devices><interface type='bridge'><mac address='52:54:00:aa:00:01'/>
<source bridge='br0'/><target dev='vnet0'/></interface></devices></domain></domstatus>"""
WORDS = [(option, word) for option in OPTIONS for word in option.values]
each_word = pytest.mark.parametrize(("option", "word"), WORDS, ids=[f"{each.toml}={word}" for each, word in WORDS])


def intent(metadata: str = "", configuration: str = "") -> Intent:
    status = read_domain_status(etree.fromstring(DOMAIN.format(NAMESPACE, metadata)), "web1.xml")
    assert isinstance(status, Domain)
    config, problems = read_config(configuration.encode())
    assert not problems
    return build_intent([status], PolicySources((), config.bridges))


def test_settings_and_policy_have_a_field_for_each_option_and_no_other() -> None:
    options = {option.field for option in OPTIONS}
    assert {field.name for field in fields(Settings)} == options | {"allow"}
    defaults = {field.name: field.default for field in fields(Policy)}
    assert options <= defaults.keys()
    assert all(getattr(Settings(), option.field) is None for option in OPTIONS), "silent until a place says it"
    for option in OPTIONS:
        assert defaults[option.field] is not MISSING
        assert defaults[option.field] in option.values.values()


@each_word
def test_metadata_and_configuration_decide_it(option: Option, word: str) -> None:
    manager = "" if option.field == "manager" else "mac_table_manager = 'libvirt'\n"
    (said,) = intent(configuration=f"[bridge.br0]\n{manager}{option.toml} = '{word}'\n").ports
    assert getattr(said.policy, option.field) == option.values[word]
    (said,) = intent(metadata=f"{option.xml}='{word}'").ports
    assert getattr(said.policy, option.field) == option.values[word]


@each_word
def test_explain_says_it_and_who_decided(option: Option, word: str) -> None:
    wanted = intent(metadata=f"{option.xml}='{word}'")
    port = BridgePort("vnet0", 2, "br0", "fe:54:00:aa:00:01")
    snapshot = Snapshot({"br0": Bridge("br0", 1, "02:00:00:00:00:01")}, {"vnet0": port}, {"br0": None, "vnet0": "br0"})
    (explanation,) = explain(View(wanted, snapshot, plan(wanted, snapshot)), "vnet0")
    lines = dict(explanation.sections)["Policy says"]
    assert any(f"{option.xml}='{word}'" in line for line in lines), "the step"
    meant = "sticky (auto, step 2)" if word == "auto" else f"{word} (step 2)"
    assert f"{option.xml} {meant}" in lines[-1]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: str(option.toml))
def test_some_rule_obeys_it(option: Option) -> None:
    """A person who sets an option that nothing reads is told that it is understood, and is not obeyed."""
    readers = {
        path.parent.name
        for path in [*TOP.glob("planning/*.py"), *TOP.glob("watch/*.py"), TOP / "model/intent.py"]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == option.field and "policy" in ast.unparse(node.value)
    }
    assert readers


def test_an_option_that_no_place_sets_is_the_default() -> None:
    (said,) = intent().ports
    assert {getattr(said.policy, option.field) == getattr(Policy(), option.field) for option in OPTIONS} == {True}
    assert said.policy.manager is Manager.KERNEL
