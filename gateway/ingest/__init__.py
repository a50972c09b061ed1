"""From signed message to ledger, store and signed ack.

link      the broker: connects for ever, hands messages over, acknowledges when told
intake    decides what to do with a message; knows no MQTT and no time but the message's
recorder  makes decisions durable: ledger, then store, then the ack
service   runs the three together
"""

from gateway.ingest.intake import Intake, Message, Verdict
from gateway.ingest.marks import Policy
from gateway.ingest.recorder import catch_up, contents, set_aside

__all__ = ["Intake", "Message", "Policy", "Verdict", "catch_up", "contents", "set_aside"]
