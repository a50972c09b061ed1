"""What the agent says of itself can always be said in a signed message."""

from edge_agent.health import Health
from edge_agent.wire import cbor


def test_texts_that_no_signed_message_may_hold_are_written_another_way():
    health = Health(tls_problem="keys/e\u0301cole.pem: broken\n", alarm="x\x00y")
    said = health.detail()
    assert cbor.decode(cbor.encode(said)) == said
    assert said["tls_problem"] == "keys/\u00e9cole.pem: broken?"
