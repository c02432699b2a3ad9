"""docs/life-events.rst is written from the lab's results by hand of a person: it must not fall behind the tests."""

from tests.lab.lifetable import CHECKOUT, DOCUMENT, MODULES, events


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
