"""docs/life-events.rst is written from the lab's results by hand of a person: it must not fall behind the tests."""

import json
from pathlib import Path

import pytest

from tests.lab.lifetable import ALONE, CHECKOUT, DOCUMENT, MODULES, WITH_MACMGR, document, events


def test_the_table_names_every_event() -> None:
    rows = [line.removeprefix("   * - ") for line in DOCUMENT.read_text().splitlines() if line.startswith("   * - ")]
    assert [row for row in rows if row != "event"] == [event.title for event in events()]


def test_no_module_of_life_events_is_left_out() -> None:
    files = {path.stem for path in (CHECKOUT / "tests" / "lab").glob("test_life_*.py")}
    assert files == {f"test_life_{module}" for module in MODULES}


def test_every_event_has_a_name_of_its_own() -> None:
    titles = [event.title for event in events()]
    assert all(titles)
    assert len(set(titles)) == len(titles)


def left(place: Path, port: str = "closed") -> Path:
    """What the lab leaves of all events, each with one NIC that looks the same."""
    place.mkdir()
    nic = {"kind": "network", "reachable": True, "port": port, "entry": "no entry"}
    text = json.dumps({"sights": [{"when": "then", "nics": [nic], "note": ""}]})
    for event in events():
        for hand in (ALONE, WITH_MACMGR):
            (place / f"{event.test}.{hand}.json").write_text(text)
    return place


def test_a_release_that_does_the_same_is_told_in_a_word(tmp_path: Path) -> None:
    older, newer = left(tmp_path / "older"), left(tmp_path / "newer")
    (first, *others) = events()
    (newer / f"{first.test}.{ALONE}.json").write_text(
        (newer / f"{first.test}.{ALONE}.json").read_text().replace("closed", "learns")
    )
    rows = document(older, newer).partition("     - macmgr\n")[2].splitlines()
    seen, other = "     - | *then:* reachable, closed, no entry", "     - | *then:* reachable, learns, no entry"
    assert rows[:4] == [f"   * - {first.title}", seen, other, seen]
    assert rows[4:8] == [f"   * - {others[0].title}", seen, "     - | as 9.0", seen]


def test_with_macmgr_both_releases_come_to_the_same(tmp_path: Path) -> None:
    older, newer = left(tmp_path / "older"), left(tmp_path / "newer", "learns")
    with pytest.raises(ValueError, match="with macmgr it is not the same in both releases"):
        document(older, newer)
    with pytest.raises(FileNotFoundError, match="run the life events of tests/lab first"):
        document(older, tmp_path)
