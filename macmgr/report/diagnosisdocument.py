"""Writes the diagnosis of `macmgr doctor --json`, version 1. Fields may be added; none is renamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from macmgr.doctor.answer import answers
from macmgr.doctor.diagnose import BridgeDiagnosis, Diagnosis, NicList, PortDiagnosis
from macmgr.doctor.promiscuity import Cause
from macmgr.doctor.steps import Step
from macmgr.model.findings import fix_of
from macmgr.report.auditdocument import finding_document, stacked_document


def diagnosis_document(diagnosis: Diagnosis, host: str, taken_at: str, hooks: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "version": 1,
        "host": host,
        "taken_at": taken_at,
        "bridges": [_bridge_document(bridge) for bridge in diagnosis.bridges],
        "abilities": [
            {"name": each.name, "since": each.since, "here": each.has, "text": each.text}
            for each in diagnosis.abilities
        ],
        "hooks": list(hooks),
    }


def _bridge_document(found: BridgeDiagnosis) -> dict[str, Any]:
    return {
        "name": found.bridge.name,
        "answer": [text for _, text in answers(found)],
        "cut_off": list(found.cut_off),
        "managed": found.managed is not None,
        "reason": found.managed,
        "vlan_filtering": found.bridge.vlan_filtering,
        "promiscuous": found.bridge.promiscuity > 0,
        "causes": [_cause_document(cause) for cause in found.causes],
        "ports": [_port_document(port) for port in found.ports],
        "stacked": [stacked_document(each) for each in found.stacked],
        "vlan_filtering_would_cut": list(found.obstacles),
        "steps": [_step_document(step) for step in found.steps],
        "gain": list(found.gain),
        "notes": list(found.notes),
        "findings": [finding_document(finding, fix_of(finding)) for finding in found.findings],
    }


def _port_document(port: PortDiagnosis) -> dict[str, Any]:
    member, guest = port.member, port.member.guest
    return {
        "port": member.name,
        "role": str(member.role),
        "kind": member.device.kind,
        "driver": member.device.driver or None,
        "domain": guest.domain if guest else None,
        "manager": str(guest.policy.manager) if guest else None,
        "reason": guest.policy.reason if guest else None,
        "learning": member.port.flags.learning,
        "unicast_flood": member.port.flags.unicast_flood,
        "auto": member.port.auto,
        "up": member.port.up,
        "isolated": member.port.isolated,
        "promiscuity": member.port.promiscuity,
        "promiscuous": port.promiscuous,
        "unicast_filter": port.filter.filters,
        "unicast_filter_source": port.filter.source,
        "causes": [_cause_document(cause) for cause in port.causes],
        "xdp": [{"mode": each.mode, "id": each.program} for each in port.xdp],
        "below": [
            {
                "device": below.device.name,
                "kind": below.device.kind,
                "driver": below.device.driver or None,
                "promiscuity": below.device.promiscuity,
                "unicast_filter": below.filter.filters,
                "causes": [_cause_document(cause) for cause in below.causes],
            }
            for below in port.below
        ],
        "addresses": _addresses_document(port.nic_list) if port.nic_list else None,
        "notes": list(port.notes),
    }


def _addresses_document(nic_list: NicList) -> dict[str, Any]:
    return {
        "needed": nic_list.needed,
        "listed": nic_list.present,
        "missing": [{"mac": mac, "domain": domain} for mac, domain in nic_list.missing],
        "capacity": [nic_list.capacity.certain, nic_list.capacity.most] if nic_list.capacity else None,
        "text": nic_list.text,
    }


def _cause_document(cause: Cause) -> dict[str, Any]:
    return {
        "cause": str(cause.reason),
        "subject": cause.subject,
        "pid": cause.pid,
        "certain": cause.certain,
        "text": cause.text,
    }


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "text": step.text,
        "file": step.where or None,
        "lines": list(step.lines),
        "commands": list(step.commands),
        "gain": step.gain or None,
    }
