"""Which sources a report must call unauthenticated."""

import pytest

from gateway.reports.sources import reservations

SECURE = {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        ({"driver": "opcua", "security": SECURE, "insecure": False}, ""),
        ({"driver": "opcua", "security": None, "insecure": True}, "d (opcua, insecure: true)"),
        ({"driver": "modbus", "transport": "tls"}, ""),
        ({"driver": "modbus", "transport": "rtu"}, "d (modbus rtu)"),
        ({"driver": "mqtt", "tls": {"ca": "ca.crt"}}, ""),
        ({"driver": "mqtt", "tls": None}, "d (mqtt without TLS)"),
        ({"driver": "dlt645"}, "d (dlt645)"),
        ({"driver": "hj212"}, "d (hj212)"),
        ({"driver": "modbus", "transport": "tcp", "enabled": False}, ""),
    ],
)
def test_a_source_is_named_unless_its_channel_is_authenticated(device, shown):
    found = reservations([{"devices": [{"id": "d", **device}]}])
    assert found == ([f"sources without authentication 无认证数据源: {shown}"] if shown else [])


def test_sources_of_all_configurations_of_the_month_are_named_once_and_not_without_end():
    many = [{"id": f"d{n:03d}", "driver": "hj212"} for n in range(40)]
    (line,) = reservations([{"devices": many[:30]}, {"devices": many[10:]}])
    assert line.count("(hj212)") == 24
    assert line.endswith("and 16 more")
