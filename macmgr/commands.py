"""The verbs, and the options of each: what the command line, the man pages and the completion know."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from macmgr import __version__, paths
from macmgr.arguments import HOST_OPTIONS, Parser, VerbParser, add_options, add_verb, shared_options

EXIT_CODES = """\
exit codes:
  0 in sync, or done             69 libvirt or a bridge is not there
  1 drift, or changes remain     71 netlink failed
  2 usage                        75 another writer holds the lock
  65 XML not understood          77 needs CAP_NET_ADMIN
                                 78 configuration wrong
"""


def make_parser() -> Parser:
    parser = Parser(
        prog="macmgr",
        usage="macmgr [-h] [--version] [OPTION...] VERB ...",
        description="Manage the MAC table of Linux bridges for libvirt guests.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"macmgr {__version__}")
    add_options(parser, "options of most verbs, before the verb or after it", shared_options())
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog="macmgr", parser_class=VerbParser)

    for name, function, text, example in (
        ("audit", "audit", "compare what libvirt says with what the bridges do", "macmgr audit --bridge br0"),
        ("plan", "plan", "print the changes as bridge(8) commands, and make none", "macmgr plan --domain web1"),
        ("apply", "apply_changes", "make the changes and read them back", "macmgr apply"),
        ("show", "show", "bridges, ports, guests, MACs and promiscuity", "macmgr show --bridge br0"),
    ):
        more = () if name == "apply" else ("replay", "verbose")
        verb = add_verb(verbs, name, text, example, *HOST_OPTIONS, *more, "no-color")
        verb.set_defaults(function=function)
        verb.add_argument("--domain", metavar="D", help="only this domain")
        verb.add_argument("--bridge", metavar="B", help="only this bridge")
        verb.add_argument("--network", metavar="N", help="only the bridge of this libvirt network")
        if name == "audit":
            verb.add_argument("--strict", action="store_true", help="let warnings count as drift")
            verb.add_argument("--problems", action="store_true", help="show what is wrong, and nothing else")
        if name in ("plan", "apply"):
            help_ = 'also put managed ports into the VLANs of their guests\' <vlan> (as with vlans = "repair")'
            verb.add_argument("--vlans", action="store_true", help=help_)
        if name == "apply":
            verb.set_defaults(module="macmgr.verbs.apply")
            verb.add_argument(
                "--vlan-filtering", metavar="B", help="first turn VLAN filtering on for B, if that cuts nobody off"
            )
            verb.add_argument(
                "--try",
                dest="trial",
                type=_seconds,
                metavar="SECONDS",
                help="go back by itself unless somebody types yes in time; with --bridge, on one that is only observed",
            )
            verb.add_argument(
                "--cut",
                action="store_true",
                help="make the changes also where they cut off an address that is in use, such as one behind a port",
            )

    explain = add_verb(
        verbs,
        "explain",
        "why a MAC, a port, a bridge or a domain is as it is",
        "macmgr explain web1",
        *HOST_OPTIONS,
        "replay",
        "verbose",
        "no-color",
    )
    explain.set_defaults(function="explain_one", domain=None, bridge=None, network=None)
    explain.add_argument("what", metavar="WHAT", help="a MAC, a bridge, a bridge port, or a domain")

    text, example = "where a frame goes on this host, and why", "macmgr trace --from eth0 --to 52:54:00:aa:00:01"
    trace = add_verb(verbs, "trace", text, example, *HOST_OPTIONS, "replay", "no-color")
    trace.set_defaults(function="trace_frames", module="macmgr.verbs.trace", domain=None, bridge=None, network=None)
    origin = "a port, a bridge (its host) or a MAC; default everybody on the bridges that know the destination"
    trace.add_argument("--from", dest="sender", metavar="PORT|MAC", help=origin)
    help_ = "of a station or of a group (ff:ff:ff:ff:ff:ff); for multicast, the group's IP address says more"
    trace.add_argument("--to", metavar="MAC", required=True, help=help_)
    trace.add_argument("--vid", type=int, metavar="V", help="the frame's VLAN: tagged, unless it is the port's PVID")

    text, example = "a picture of bridges, guests and who reaches them", "macmgr graph --bridge br0 > br0.svg"
    graph = add_verb(verbs, "graph", text, example, *HOST_OPTIONS, "replay", "verbose")
    graph.set_defaults(function="graph", module="macmgr.verbs.graph")
    graph.add_argument("--domain", metavar="D", help="only this domain, and how it is reached")
    graph.add_argument("--bridge", metavar="B", help="only this bridge")
    graph.add_argument("--network", metavar="N", help="only the bridge of this libvirt network")

    for name, text in (
        ("manage", "let macmgr change a bridge: set its mode in the file"),
        ("observe", "let macmgr only report on a bridge: set its mode in the file"),
    ):
        mode = add_verb(verbs, name, text, f"sudo macmgr {name} br0", *HOST_OPTIONS)
        mode.set_defaults(function="set_mode", module="macmgr.verbs.bridgemode", domain=None, network=None)
        mode.add_argument("bridge", metavar="BRIDGE")

    text = "give ports back to the kernel as they were before macmgr"
    release = add_verb(verbs, "release", text, "sudo macmgr release --bridge br0", *HOST_OPTIONS, "no-color")
    release.set_defaults(function="release_ports", module="macmgr.verbs.apply", domain=None, network=None)
    release.add_argument("--bridge", metavar="B", help="only the ports of this bridge")
    help_ = "give ports back also where that cuts a guest off, or lets others hear it who did not"
    release.add_argument("--cut", action="store_true", help=help_)

    text = "why an uplink is promiscuous, and what would change it"
    doctor = add_verb(verbs, "doctor", text, "macmgr doctor br0", *HOST_OPTIONS, "replay", "no-color")
    doctor.set_defaults(function="doctor", domain=None, network=None)
    doctor.add_argument("bridge", metavar="BRIDGE", nargs="?", help="managed or not; default all managed ones")

    text, example = "write down what the other verbs read of this host, for a bug report", "sudo macmgr capture h1.tar"
    capture = add_verb(verbs, "capture", text, example, "config", "run-dir", "netns", "replay")
    capture.set_defaults(function="write_down", module="macmgr.verbs.bugreport")
    capture.set_defaults(domain=None, bridge=None, network=None)
    capture.add_argument("target", type=Path, metavar="DIR|FILE.tar", help="a new directory, or a new tar file")
    capture.add_argument("--anonymous", action="store_true", help="replace names of guests and networks, and addresses")

    text, example = "audits of several hosts, held against each other", "macmgr compare h1.json h2.json h3.tar"
    compare = add_verb(verbs, "compare", text, example, "format", "verbose", "no-color")
    compare.set_defaults(function="compare", module="macmgr.verbs.compare")
    help_ = "what 'macmgr audit --json' or 'macmgr capture' wrote on each host, or a directory of such"
    compare.add_argument("sources", nargs="+", type=Path, metavar="FILE|DIR", help=help_)

    text = "what the daemon manages, repaired and saw"
    status = add_verb(verbs, "status", text, "sudo macmgr status", "format", "verbose", "no-color")
    status.set_defaults(function="status", module="macmgr.verbs.status")

    text = "the daemon, in the foreground: keep the MAC tables right as long as guests live"
    watch = add_verb(verbs, "watch", text, "sudo macmgr watch", "config", "run-dir", "netns", "verbose")
    watch.set_defaults(function="watch", module="macmgr.verbs.watch")
    watch.add_argument(
        "--observe",
        action="store_true",
        help="report what it would do, on every bridge, and change nothing; hooks do their work themselves",
    )

    text, example = "what libvirt's hooks call; XML on stdin", "macmgr hook qemu web1 started begin - < web1.xml"
    hook = add_verb(verbs, "hook", text, example, "config", "run-dir", "netns")
    hook.add_argument("driver", metavar="DRIVER", choices=("qemu", "lxc", "network", "daemon"))
    hook.add_argument("object", metavar="OBJECT")
    hook.add_argument("operation", metavar="OP")
    hook.add_argument("sub_operation", metavar="SUBOP", nargs="?", default="-")
    hook.add_argument("extra", metavar="EXTRA", nargs="?", default="-")

    text = "read or change the attribute of a libvirt network, through libvirt"
    net = add_verb(verbs, "net", text, "macmgr net set lan libvirt", "config", "connect", "format", "verbose")
    actions = net.add_subparsers(dest="action", required=True, metavar="get|set")
    for name, function, text, example, option in (
        ("get", "get_manager", "who manages the MAC table of a network's bridge", "macmgr net get lan", "verbose"),
        (
            "set",
            "set_manager",
            "change macTableManager in a network's definition",
            "macmgr net set lan kernel",
            "config",
        ),
    ):
        action = add_verb(actions, name, text, example, option, "connect", "format")
        action.set_defaults(function=function, module="macmgr.verbs.net")
        action.add_argument("network", metavar="NETWORK")
        if name == "set":
            action.add_argument("manager", choices=("kernel", "libvirt"))

    text = "check network, domain and configuration files"
    validate = add_verb(verbs, "validate", text, "macmgr validate lan.xml macmgr.toml", "format")
    validate.set_defaults(function="validate", module="macmgr.verbs.validate")
    validate.add_argument("files", nargs="+", metavar="FILE", help="XML of libvirt, or macmgr.toml; /dev/stdin too")

    for name, text in (
        ("install", "install libvirt's hooks, the daemon's unit, and a configuration where there is none"),
        ("uninstall", "remove what install put, but for a configuration that was changed since"),
    ):
        verb = add_verb(
            verbs, name, text, f"sudo macmgr {name}", "config", *(("run-dir",) if name == "install" else ())
        )
        verb.set_defaults(function=name, module="macmgr.verbs.install")
        verb.add_argument(
            "--hooks-dir", type=Path, default=paths.LIBVIRT_HOOKS, metavar="DIR", help=f"default {paths.LIBVIRT_HOOKS}"
        )
        verb.add_argument(
            "--units-dir", type=Path, metavar="DIR", help=f"the daemon's unit; default {paths.UNITS}, under systemd"
        )
        if name == "install":
            verb.add_argument(
                "--manage",
                action="store_true",
                help='let the new configuration say mode = "manage"; without it, macmgr only observes',
            )
            verb.add_argument("--program", type=Path, metavar="FILE", help="the macmgr that hooks and unit start")
            verb.add_argument(
                "--no-hooks", action="store_true", help="unit and configuration alone; hooks that are there go"
            )
        else:
            verb.add_argument(
                "--purge", action="store_true", help="forget how ports were before macmgr, released or not"
            )
    return parser


def _seconds(word: str) -> float:
    with suppress(ValueError):
        if 1 <= (seconds := float(word)) <= 86400:
            return seconds
    raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds from 1 to 86400")
