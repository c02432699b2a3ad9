"""An audit is truthful while somebody else adds and deletes ten thousand entries all the time.

An FDB dump is no snapshot: it walks a list that changes, skips entries that were there all along, and nothing marks it
(rtnl_fdb_dump sets no NLM_F_DUMP_INTR). So `look` asks for each suspect by name before it believes the dump. The second
test takes that away and sees phantoms: it proves that the first one can fail.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from macmgr.kernel import Kernel
from macmgr.model.findings import Severity
from macmgr.model.intent import Intent, Manager, Settings
from macmgr.model.snapshot import Entry, Fdb, Key
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.reconcile import look
from macmgr.sources.statusfiles import StatusFiles
from tests import crowd
from tests.crowd import CrowdGuest
from tests.netns.conftest import Namespace

GUEST = CrowdGuest(1)
# A datagram of a dump holds some four hundred entries, and what is skipped is skipped between two of them: so the guest
# has many, and what comes and goes is on its port as well, where it may be.
MACS = [GUEST.mac, *(f"00:00:5e:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1, 250))]
POLICY = Settings(Manager.LIBVIRT, allow=("02:aa:bb:*", *MACS[1:]))
CHURNED = 10_000
AUDITS = 200
LONGEST = 1800  # seconds, after which the churn ends by itself, should nobody end it


@pytest.fixture
def intent(ns: Namespace, tmp_path: Path) -> Intent:
    """A guest in sync, whose own entries are spread among those that will come and go."""
    crowd.write_status_files(tmp_path, [GUEST])
    crowd.add_bridge(ns.name)
    crowd.add_taps(ns.name, [GUEST.tap])
    crowd.bridge(ns.name, [f"link set dev {GUEST.tap} learning off flood off"])
    lines = put_lines()
    for place, mac in enumerate(MACS):
        lines.insert(place * CHURNED // len(MACS), f"fdb replace {mac} dev {GUEST.tap} master static sticky")
    crowd.bridge(ns.name, lines)
    sources = StatusFiles(tmp_path).read()
    return build_intent(sources.domains, PolicySources(sources.networks, {"br0": POLICY}))


def put_lines() -> list[str]:
    return [f"fdb replace {crowd.stray_mac(number)} dev {GUEST.tap} master static" for number in range(CHURNED)]


@contextmanager
def churn(ns: Namespace, directory: Path) -> Iterator[Callable[[], int]]:
    """bridge(8) in a loop, deleting all of them and adding them again; yields how many rounds there were."""
    puts, deletes = directory / "puts", directory / "deletes"
    puts.write_text("\n".join(put_lines()))
    # The newest is first in the kernel's list. When that one goes, all behind it move up, and a dump skips one of them.
    lines = [line.replace("fdb replace", "fdb del").removesuffix(" static") for line in reversed(put_lines())]
    deletes.write_text("\n".join(lines))
    loop = f"while bridge -n {ns.name} -batch {deletes} && bridge -n {ns.name} -batch {puts}; do echo; done"
    running = subprocess.Popen(["timeout", str(LONGEST), "sh", "-c", loop], stdout=subprocess.PIPE)
    rounds: list[bytes] = []
    assert running.stdout is not None
    counter = threading.Thread(target=rounds.extend, args=(running.stdout,))
    counter.start()
    try:
        yield lambda: len(rounds)
        assert running.poll() is None, "the churn ended before the audits did"
    finally:
        running.terminate()  # timeout(1) hands it on to the shell and its bridge(8)
        running.wait()
        counter.join()
        running.stdout.close()


def differences(intent: Intent, kernel: Kernel) -> list[str]:
    findings = look(lambda: intent, kernel).plan.findings
    return [f"{finding.code}: {finding.message}" for finding in findings if finding.severity is not Severity.INFO]


def test_200_audits_under_churn_report_no_difference_that_is_not_there(
    ns: Namespace, intent: Intent, tmp_path: Path
) -> None:
    with Kernel(ns.name) as kernel, churn(ns, tmp_path) as rounds:
        for _ in range(AUDITS):
            assert differences(intent, kernel) == []
        assert rounds() >= 2


def test_without_the_second_look_an_audit_under_churn_is_not_to_be_trusted(
    ns: Namespace, intent: Intent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def believe_the_dump(fdb: Fdb, _: dict[Key, Entry | None]) -> tuple[Entry, ...]:
        return tuple(fdb)

    monkeypatch.setattr(Fdb, "with_found", believe_the_dump)
    with Kernel(ns.name) as kernel, churn(ns, tmp_path):
        assert any(differences(intent, kernel) for _ in range(AUDITS))
