"""Coverage-guided fuzzing of MQTT payloads: Sparkplug B and plain numbers and JSON."""

import sys

import atheris

with atheris.instrument_imports(include=["edge_agent.drivers"]):
    from edge_agent.drivers.mqtt import _quality
    from edge_agent.drivers.mqtt_values import at, instant_ns, loads, parse_path, plain_number
    from edge_agent.drivers.sparkplug_payload import decode
    from edge_agent.drivers.sparkplug_state import KINDS, Node
    from edge_agent.errors import DeviceError


def one_input(raw: bytes) -> None:
    """A session of one node, or one plain payload and a path into it."""
    data = atheris.FuzzedDataProvider(raw)
    if data.ConsumeBool():
        _session(data)
        return
    try:
        path = parse_path(data.ConsumeUnicodeNoSurrogates(20))
    except ValueError:
        path = ("a", 0)
    payload = data.ConsumeBytes(data.remaining_bytes())
    plain_number(payload)
    try:
        found = at(loads(payload), path)
    except DeviceError:
        return
    plain_number(found)
    for unit in ("s", "iso"):
        instant_ns(found, unit)


def _session(data: "atheris.FuzzedDataProvider") -> None:
    node = Node()
    while data.remaining_bytes():
        kind = KINDS[data.ConsumeIntInRange(0, len(KINDS) - 1)]
        try:
            payload = decode(data.ConsumeBytes(data.ConsumeIntInRange(1, 200)))
        except DeviceError:
            continue
        for metric in payload.metrics:
            _quality(metric)
        outcome = node.take(kind, "d" if kind[0] == "D" else "", payload)
        if outcome.updates and not node.is_online:
            raise AssertionError("a node that is not born gives values")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
