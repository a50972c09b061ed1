"""OPC UA: subscribed or polled, secured or said to be insecure.

``config`` what a plant writes · ``node_text`` and ``nodes`` names of nodes · ``values`` data values to readings ·
``client`` the library with limits · ``pki`` certificates · ``connection`` one session ·
``nodebook`` tags on it · ``reading`` service calls · ``subscriber`` and ``poller`` the drivers ·
``audit`` dead subscriptions · ``history`` · ``browse`` and ``cli`` the verb.
"""

import importlib
from typing import TYPE_CHECKING

from edge_agent.clock import Clock
from edge_agent.drivers.opcua.config import OpcUaConfig, OpcUaTag

if TYPE_CHECKING:
    from edge_agent.drivers.opcua.poller import OpcUaPoller
    from edge_agent.drivers.opcua.subscriber import OpcUaSubscriber

__all__ = ["OpcUaConfig", "OpcUaTag", "opcua_driver"]


def opcua_driver(config: OpcUaConfig, clock: Clock) -> "OpcUaSubscriber | OpcUaPoller":
    """The driver for the configured mode.

    The library is loaded here: it takes 17 MB and a third of a second, which a plant without
    OPC UA does not pay.
    """
    module, name = (
        ("subscriber", "OpcUaSubscriber")
        if config.mode == "subscribe"
        else ("poller", "OpcUaPoller")
    )
    found = importlib.import_module(f"edge_agent.drivers.opcua.{module}")
    driver: OpcUaSubscriber | OpcUaPoller = getattr(found, name)(config, clock)
    return driver
