"""Prints a `Diagnosis` for `macmgr doctor`: ports and their causes, steps in order, and the gain. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from macmgr.doctor.answer import answers
from macmgr.doctor.diagnose import BridgeDiagnosis, Diagnosis, PortDiagnosis
from macmgr.doctor.kernelabilities import Ability
from macmgr.doctor.promiscuity import Cause, Reason
from macmgr.doctor.steps import Step
from macmgr.doctor.vlancheck import UNSEEN
from macmgr.model.codes import Severity
from macmgr.model.intent import observe_nothing
from macmgr.oneline import one_line, unbroken
from macmgr.phrases import counted
from macmgr.report.terminal import print_wrapped
from macmgr.vlanfiltering import Answer

_WORDS = {
    Reason.NO_VLAN_FILTERING: "no VLAN filtering in this kernel",
    Reason.VLAN_FILTERING_OFF: "VLAN filtering off",
    Reason.BRIDGE: "bridge promiscuous",
    Reason.NO_UNICAST_FILTER: "cannot filter",
    Reason.ADMINISTRATOR: "set by an administrator",
    Reason.UPPER_DEVICE: "a device stacked on it",
    Reason.OWN_ADDRESSES: "further addresses",
    Reason.UNSEEN: "not known",
}
_STYLE = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "green"}
_MANY = 10
_ROWS = 20  # of a bridge's table
_HAS = {True: "yes", False: "no", None: "not known"}


def print_diagnosis(out: Console, diagnosis: Diagnosis, observes: Callable[[str], bool] = observe_nothing) -> None:
    for bridge in diagnosis.bridges:
        name = f"{bridge.bridge.name}: " if len(diagnosis.bridges) > 1 else ""
        for severity, text in answers(bridge):
            print_wrapped(out, Text(), name + text, 2, _STYLE[severity])
    if diagnosis.bridges:
        out.print()
    for bridge in diagnosis.bridges:
        _print_bridge(out, bridge, "only observed" if observes(bridge.bridge.name) else "managed")
    if not diagnosis.bridges:
        out.print("No bridge here is managed; 'macmgr doctor BRIDGE' looks at any one.\n")
    table = _table("", "KERNEL ABILITY", "SINCE", "HERE", "")
    for ability in diagnosis.abilities:
        table.add_row("", ability.name, ability.since, _has(ability), ability.text)
    out.print(table, soft_wrap=False)


def print_hooks(out: Console, problems: Sequence[str]) -> None:
    for problem in problems:
        out.print(Text(one_line(problem), "red"), soft_wrap=True)
    if problems:
        out.print()


def print_vlan_filtering(out: Console, bridge: str, answer: Answer) -> None:
    if answer.cut:
        _print_indented(out, "", f"VLAN filtering stays off on {bridge} and nothing was changed, because of this:")
        for sentence in answer.cut:
            _print_indented(out, "  - ", sentence)
    elif answer.turned_on:
        lasts = f"It lasts as long as the bridge: set it where {bridge} is configured too."
        _print_indented(out, "", f"VLAN filtering is on for {bridge} now. {lasts} {UNSEEN}")
    else:
        _print_indented(out, "", f"VLAN filtering was on for {bridge} already.")


def _print_bridge(out: Console, found: BridgeDiagnosis, how: str) -> None:
    line = Text(found.bridge.name, "bold")
    filtering = f"VLAN filtering {'on' if found.bridge.vlan_filtering else 'off'}"
    managed = f"{how} ({found.managed})" if found.managed else "not managed"
    promiscuous = ", promiscuous" if found.bridge.promiscuity else ""
    print_wrapped(out, line + Text("  "), f"{filtering}, {managed}{promiscuous}", line.cell_len + 2)
    table = _table("", "PORT", "WHOSE", "AUTO", "PROMISC", "BECAUSE OF")
    shown, left_out = _shown(found.ports)
    for port in shown:
        auto = Text("yes", "yellow") if port.member.port.auto else "no"
        promisc = Text("yes", "yellow") if port.promiscuous else Text("no", "green")
        table.add_row("", port.member.name, _whose(port), auto, promisc, _in_short(port))
    out.print(table, soft_wrap=False)
    for row in left_out:
        print_wrapped(out, Text("  "), row, 2, "dim")
    _print_why(out, found)
    _print_list(out, "To know", list(_notes(found)))
    _print_steps(out, found.steps)
    _print_list(out, "What it would gain", found.gain)
    out.print()


def _shown(ports: Sequence[PortDiagnosis]) -> tuple[Sequence[PortDiagnosis], list[str]]:
    """Returns the ports that matter where there are many, and the number of the others in words."""
    if len(ports) <= _ROWS:
        return ports, []
    auto = [port for port in ports if port.member.port.auto or port.member.role.leads_out]
    others = [port for port in ports if port not in auto and _beside(port)]
    shown = [*auto[:_ROWS], *others[:_ROWS]]
    more, closed = len(auto[_ROWS:]), len(ports) - len(auto) - len(others[:_ROWS])
    lines = [
        (more, f"{counted(more, 'more port')} that may learn or flood"),
        (closed, f"{counted(closed, 'closed port')}"),
    ]
    return shown, [f"({words}: --json has all)" for number, words in lines if number]


def _print_steps(out: Console, steps: Iterable[Step]) -> None:
    """Numbers the steps; each command has its own line, for copying."""
    if not steps:
        return
    _print_heading(out, "What to do, in order")
    for number, step in enumerate(steps, 1):
        _print_indented(out, f"{number:>3}. ", step.text)
        if step.where:
            _print_indented(out, "     ", f"In {step.where}:")
        for line in step.lines:
            out.print(Text(unbroken(f"         {line}"), "cyan"))
        for command in step.commands:
            out.print(Text(unbroken(f"       $ {command}"), "cyan"))
        if step.gain:
            _print_indented(out, "     ", f"Then {step.gain}.")


def _print_why(out: Console, found: BridgeDiagnosis) -> None:
    _print_heading(out, "Why")
    for sentence, points in _why(found):
        _print_indented(out, "  - ", sentence)
        for point in points:
            _print_indented(out, "      * ", point)


def _print_list(out: Console, heading: str, sentences: Iterable[str]) -> None:
    lines = list(dict.fromkeys(sentences))
    if lines:
        _print_heading(out, heading)
    for line in lines:
        _print_indented(out, "  - ", line)


def _print_heading(out: Console, text: str) -> None:
    out.print()
    out.print(Text(text, "bold"))


def _print_indented(out: Console, indent: str, text: str) -> None:
    """The sentence keeps its indent where the terminal breaks it."""
    print_wrapped(out, Text(indent), text, len(indent))


def _why(found: BridgeDiagnosis) -> Iterator[tuple[str, list[str]]]:
    """Yields the uplinks, cause by cause; then the bridge device; then one sentence for all guests' ports."""
    for port in found.ports:
        if port.member.role.leads_out:
            yield from _why_uplink(port)
    if found.causes:
        yield _reasons(found.bridge.name, found.causes)
    others = [port for port in found.ports if not port.member.role.leads_out]
    if any(port.member.device.kind == "tun" and port.promiscuous for port in others):
        yield (
            "Taps are always promiscuous: they cannot filter. It costs nothing, because only the guest sends there.",
            [],
        )
    for port in others:
        if beside := _beside(port):
            yield _reasons(port.member.name, beside)


def _why_uplink(port: PortDiagnosis) -> Iterator[tuple[str, list[str]]]:
    name = port.member.name
    if not port.promiscuous:
        others = "it is the only port that learns or floods" if port.member.port.auto else "no port learns or floods"
        yield f"{name} is not promiscuous: VLAN filtering is on, and {others}.", []
    else:
        yield _reasons(name, port.causes)
        if any(cause.reason in (Reason.AUTO_PORT, Reason.SECOND_UPLINK) for cause in port.causes):
            yield "The rule: at most the uplink itself may learn or flood.", []
    for below in port.below:
        if below.causes:
            yield _reasons(f"{below.device.name} below {name}", below.causes)


def _reasons(name: str, causes: Sequence[Cause]) -> tuple[str, list[str]]:
    """One cause stands in the sentence itself; several stand below it, with only the first auto ports."""
    if len(causes) == 1:
        return f"{name} is promiscuous: {causes[0].text}.", []
    auto = [cause for cause in causes if cause.reason is Reason.AUTO_PORT]
    shown = [cause for cause in causes if cause not in auto[_MANY:]]
    points = [f"{cause.text}." for cause in shown]
    if len(auto) > _MANY:
        points.append(f"{len(auto) - _MANY} more ports learn or flood: --json says which.")
    return f"{name} is promiscuous, and each of these is enough:", points


def _notes(found: BridgeDiagnosis) -> Iterator[str]:
    for port in found.ports:
        if port.member.role.leads_out:
            yield _filtering(port)
        if port.nic_list is not None and port.filter.filters is not False:
            listed = f" {port.nic_list.present} are." if port.nic_list.present is not None else ""
            yield f"{port.member.name}: {port.nic_list.text}.{listed}"
        for program in port.xdp:
            yield (
                f"{port.member.name} has an XDP program ({program.mode}, id {program.program}): it may drop or "
                "redirect frames before the bridge sees them."
            )
        yield from port.notes
    yield from found.notes


def _filtering(port: PortDiagnosis) -> str:
    name, known = port.member.name, port.filter
    if known.filters is None:
        return f"It is unknown if {name} filters unicast addresses: {known.source}, and the kernel does not show it."
    return f"{name} {'filters' if known.filters else 'cannot filter'} unicast addresses: {known.source}."


def _whose(port: PortDiagnosis) -> str:
    guest = port.member.guest
    if guest is not None:
        return unbroken(f"{guest.domain} {guest.alias} ({guest.policy.manager})")
    return f"{port.member.role.words} ({port.member.what})"


def _in_short(port: PortDiagnosis) -> str:
    """Names the causes in a few words, and the first few auto ports."""
    if not port.member.role.leads_out and port.filter.filters is False:
        always = "a tap always is" if port.member.device.kind == "tun" else "it cannot filter"
        return ", ".join([always, *_short_words(_beside(port))])
    return ", ".join(_short_words(port.causes))


def _beside(port: PortDiagnosis) -> list[Cause]:
    """Returns the causes of a port's promiscuous mode outside the bridge."""
    return [cause for cause in port.causes if cause not in port.rule and cause.reason is not Reason.NO_UNICAST_FILTER]


def _short_words(causes: Iterable[Cause]) -> list[str]:
    words = []
    ports = []
    for cause in causes:
        if cause.reason in (Reason.AUTO_PORT, Reason.SECOND_UPLINK):
            ports.append(cause.subject)
        else:
            word = cause.subject if cause.reason is Reason.PACKET_SOCKET else _WORDS[cause.reason]
            words.append(word if cause.certain else f"{word}?")
    if ports:
        words.append(" ".join(ports[:4]) + (f" and {len(ports) - 4} more" if len(ports) > 4 else ""))
    return words


def _has(ability: Ability) -> Text:
    return Text(_HAS[ability.has], {True: "green", False: "yellow", None: "none"}[ability.has])


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        whole = column in ("PORT", "AUTO", "PROMISC", "HERE", "KERNEL ABILITY")
        table.add_column(column, no_wrap=whole, overflow="ellipsis" if whole else "fold")
    return table
