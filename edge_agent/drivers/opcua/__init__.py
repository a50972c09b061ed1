"""OPC UA: subscribed or polled, secured or said to be insecure.

``config`` what a plant writes · ``nodes`` names of nodes · ``values`` data values to readings ·
``client`` the library with limits · ``pki`` certificates · ``connection`` one session ·
``nodebook`` tags on it · ``reading`` service calls · ``subscriber`` and ``poller`` the drivers ·
``audit`` dead subscriptions · ``history`` · ``browse`` and ``cli`` the verb.
"""

from edge_agent.clock import Clock
from edge_agent.drivers.opcua.config import OpcUaConfig, OpcUaTag
from edge_agent.drivers.opcua.poller import OpcUaPoller
from edge_agent.drivers.opcua.subscriber import OpcUaSubscriber

__all__ = ["OpcUaConfig", "OpcUaPoller", "OpcUaSubscriber", "OpcUaTag", "opcua_driver"]


def opcua_driver(config: OpcUaConfig, clock: Clock) -> OpcUaSubscriber | OpcUaPoller:
    """The driver for the configured mode."""
    return (OpcUaSubscriber if config.mode == "subscribe" else OpcUaPoller)(config, clock)
