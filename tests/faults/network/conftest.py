"""What the MQTT library leaves behind is collected with the test that used it."""

import gc

import pytest


@pytest.fixture(autouse=True)
def _collected():
    yield
    # paho's pair of sockets warns when it is collected; never in somebody else's test.
    gc.collect()
