"""A broker with agent and gateway around it, and what every test of the network needs."""

import gc

import pytest

from tests.faults.network.works import Broker, Works


@pytest.fixture(autouse=True)
def _collected():
    yield
    # paho's pair of sockets warns when it is collected; never in somebody else's test.
    gc.collect()


@pytest.fixture
def broker(tmp_path):
    started = Broker(tmp_path)
    started.start()
    yield started
    started.kill()


@pytest.fixture
def works(broker, tmp_path):
    return Works(tmp_path, agent_port=broker.port, gateway_port=broker.port)
