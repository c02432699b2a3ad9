"""Lists the places that were asked for a NIC's policy, and what came of it, for `macmgr explain`. Decides nothing."""

from __future__ import annotations

from dataclasses import replace

from macmgr.model.intent import OWN, GuestPort, Manager, Pin, Settings
from macmgr.options import OPTIONS
from macmgr.planning.draft import Pins


def policy_steps(guest: GuestPort, pins: Pins) -> list[str]:
    """Returns a line for each place, in the order in which they are asked, and one for the result."""
    policy = guest.policy
    if policy.problem:
        return [f"not understood: {policy.problem}"]
    steps = [(step.place, step.says) for step in policy.steps]
    steps.append(("otherwise", Settings(manager=Manager.KERNEL)))
    width = max(len(place) for place, _ in steps)
    decider = next(index for index, (_, says) in enumerate(steps) if says.manager is not None)
    lines = [
        f"{number}  {place:<{width}}  {_settings_words(says)}{'   <- decides' if number - 1 == decider else ''}"
        for number, (place, says) in enumerate(steps, 1)
    ]
    numbers = {place: f"step {number}" for number, (place, _) in enumerate(steps, 1)}
    return [*lines, f"Together: {', '.join(_results(guest, pins, numbers, f'step {len(steps)}'))}."]


def policy_in_short(guest: GuestPort, pins: Pins) -> list[str]:
    """Returns the place that decided who manages the port, and the other options with theirs."""
    policy = guest.policy
    if policy.problem:
        return policy_steps(guest, pins)
    places = {step.place: step.place for step in policy.steps}
    manager, *others = _results(guest, pins, places, "nothing asks for more")
    return [f"{manager}; -v shows all {len(policy.steps) + 1} places", ", ".join(others)]


def _results(guest: GuestPort, pins: Pins, names: dict[str, str], otherwise: str) -> list[str]:
    """Returns each option with its value and the name of the place that decided; ``otherwise`` decides the manager."""
    policy = guest.policy
    why = pins.why(guest.bridge)
    auto = "auto, " if policy.pin is Pin.AUTO and (why or policy.place_of("pin")) else ""
    because = f": {why}" if auto and why else ""
    trust = "the NIC is trusted" if guest.facts.trust else "the NIC is not trusted"
    defaults = {"manager": otherwise, "guest_mac": trust}
    places = {option.field: policy.place_of(option.field) for option in OPTIONS}
    said = {field: names[place] if place else defaults.get(field, "default") for field, place in places.items()}
    said["pin"] = f"{auto}{said['pin']}{because}"
    made = replace(policy, pin=pins.of(policy.pin, guest.bridge))
    results = [f"{each.xml} {each.word(getattr(made, each.field))} ({said[each.field]})" for each in OPTIONS]
    own = ["the addresses of its other NICs" if guest.shared else "own (no other NIC shares its addresses)"]
    allowed = [*(own if OWN in policy.allow else []), *(each for each in policy.allow if each != OWN)]
    return [*results, f"also allowed {' '.join(allowed)}"] if allowed else results


def _settings_words(says: Settings) -> str:
    words = []
    for option in OPTIONS:
        value = getattr(says, option.field)
        if value is not None:
            words.append(f"{option.xml}='{option.word(value)}'")
    words += [f"allow {pattern}" if pattern != OWN else "allow='own'" for pattern in says.allow]
    return ", ".join(words) or "nothing"
