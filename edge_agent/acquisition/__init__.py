"""Acquisition: every device's sessions, schedule, breaker and watchdog."""

from edge_agent.acquisition.status import DeviceState, DeviceStatus
from edge_agent.acquisition.supervisor import Acquisition

__all__ = ["Acquisition", "DeviceState", "DeviceStatus"]
