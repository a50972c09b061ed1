"""What people write wrongly by hand, and what ``check`` says of it: file, line, column, key, value, and
what would be right."""

import pytest

from edge_agent import cli
from edge_agent.wire import keys

PLANT = """\
site: al-001
agent: gw-01
state_dir: state
keys: {signing: k.pem, gateway: [k.pub.pem]}
factor_set: cets-ag-04.01-v01-2024
devices:
  - id: d
    driver: modbus
    host: 127.0.0.1
    unit: 1
    interval_s: 1
    tags:
      - {id: x, address: 1, type: uint16, unit: V, range: [0, 500]}
      - {id: y, address: 9, type: uint16}
"""
RTU = """\
  - {id: e, driver: modbus, transport: rtu, serial: {port: /dev/ttyUSB0, baud: 9600}, unit: 1, interval_s: 1, tags: [{id: e1, address: 1, type: uint16}]}
  - {id: f, driver: modbus, transport: rtu, serial: {port: /dev/ttyUSB0, baud: 19200}, unit: 2, interval_s: 1, tags: [{id: f1, address: 1, type: uint16}]}
"""
LOGGERS = """\
  - {id: h, driver: hj212, port: 9212, loggers: [{mn: A, password_file: k.pem}], tags: [{id: h1, factor: a21026}]}
  - {id: i, driver: hj212, port: 9212, loggers: [{mn: A, password_file: gone.pw}], tags: [{id: i1, factor: a21026}]}
"""
BROKERS = """\
  - {id: h, driver: mqtt, host: b, client_id: c, tags: [{id: h1, topic: a}]}
  - {id: i, driver: mqtt, host: B, client_id: c, tags: [{id: i1, topic: b}]}
"""


def changed(before, after):
    assert before in PLANT
    return PLANT.replace(before, after)


MISTAKES = {
    "too little indentation": (changed("    host", "   host"), "9:4: ", "the keys of one map begin in one column"),
    "too much indentation": (changed("    host", "      host"), "9:11: ", "found 'host: 127.0.0.1'"),
    "a tab": (changed("    host", "\thost"), "9:1: ", "(spaces are right, tabs are not)"),
    "a full-width colon": (changed("host: 127", "host：127"), "10:5: ", "line 9, column 9 holds '：' (fullwidth colon): ':' is right"),
    "a full-width comma": (changed("x, address", "x，address"), "13:23: ", "line 13, column 15 holds '，'"),
    "a full-width space": (changed("    host", "　　host"), "10:9: ", "(ideographic space): ' ' is right"),
    "an open quote": (changed("id: y", 'id: "y'), "15:1: ", "a quote that is opened must be closed"),
    "an open brace": (changed("type: uint16}\n", "type: uint16\n"), "15:1: ", "with both braces"),
    "two documents": (PLANT + "---\n" + PLANT, "15:1: ", "found '---' (one document a file is right"),
    "an unknown template": (changed("    driver: modbus", "    template: abb-m2n"), "8:5: devices[0].template: ", "known: abb-a43, abb-m2m, "),
    "a tag twice": (changed("id: y", "id: x"), "14:10: devices[0].tags[1].id: ", "'x' stands twice"),
    "a device twice": (PLANT + RTU.replace("id: f,", "id: d,").replace("19200", "9600"), "16:6: devices[2].id: ", "'d' is the id of devices[0] already"),
    "two baud rates on one line": (PLANT + RTU, "16:45: devices[2].serial: ", "9600 baud, parity none, 1 stop bit(s) and 19200 baud"),
    "a number with its unit": (changed("interval_s: 1", "interval_s: 1s"), "11:5: devices[0].interval_s: ", "found '1s' (a number is right, without its unit)"),
    "no unit id": (changed("    unit: 1\n", ""), "7:5: devices[0].unit: ", "this key is missing"),
    "a forbidden register": (changed("    tags:", "    forbidden: [{first: 5, last: 20}, {first: 10, last: 12}]\n    tags:"), "15:17: devices[0].tags[1].address: ", "addresses 9 to 9 touch the forbidden 5 to 20"),
    "a range the wrong way round": (changed("[0, 500]", "[500, 0]"), "13:52: devices[0].tags[0].range: ", "the lowest first"),
    "a range as text": (changed("[0, 500]", "0-500"), "13:52: devices[0].tags[0].range: ", "found '0-500' (a list is right"),
    "a map for a list": (changed("devices:\n  - id: d", "devices:\n    id: d"), "6:1: devices: ", "a list is right: lines that begin with -"),
    "a number for a text": (changed("site: al-001", "site: 001"), "1:1: site: ", "found 1 (a text is right; in quotes"),
    "capital letters": (changed("al-001", "AL-001"), "1:1: site: ", "found 'AL-001' (small letters, digits, _ and - are right"),
    "a host with its port": (changed("host: 127.0.0.1", "host: 127.0.0.1:502"), "9:5: devices[0].host: ", "'127.0.0.1:502' is no host"),
    "a key of other transports": (changed("    unit: 1", "    serial: {port: /dev/ttyUSB0}\n    unit: 1"), "10:5: devices[0].serial: ", "does not belong to transport tcp"),
    "a key of other drivers": (changed("    unit: 1", "    sends_every_s: 60\n    unit: 1"), "10:5: devices[0].sends_every_s: ", "unknown key (other parts have it, this one does not)"),
    "a misspelt key": (changed("devices:", "device:"), "6:1: device: ", "unknown key (did you mean 'devices'?)"),
    "certificates that are not there": (changed("    unit: 1", "    transport: tls\n    tls: {ca: a.pem, cert: k.pem, key: k.pem}\n    unit: 1"), "11:11: devices[0].tls.ca: ", "a.pem (make it, or correct the path)"),
    "a password file that is not there": (PLANT + LOGGERS.replace("9212", "9213", 1), "16:58: devices[2].loggers[0].password_file: ", "gone.pw (make it, or correct the path)"),
    "two devices on one port": (PLANT + LOGGERS, "16:28: devices[2].port: ", "devices[1] has the same port (one device a port"),
    "two clients of one name": (PLANT + BROKERS, "16:36: devices[2].client_id: ", "a broker ends the older session of a name"),
    "a folder that is not there": (PLANT + "  - {id: h, driver: file_drop, folder: gone, time: t, tags: [{id: h1, column: m}]}\n", "15:32: devices[1].folder: ", "there is no folder"),
    "a meter that counts nothing": (PLANT + "meters: [{id: m, tag: y, role: electricity}]\n", "15:18: meters[0].tag: ", "'y' is neither a totaliser nor a rate; its unit is '' (totaliser: {} at the tag"),
    "a lateness that outgrows the memory": (changed("    tags:", "    lateness_s: 259200\n    tags:") + "limits: {waiting_mb: 3}\n", "12:5: devices[0].lateness_s: ", "2 tags at their rate and lateness keep 4 MiB waiting; limits.waiting_mb is 3 (a shorter lateness_s"),
}  # fmt: skip


@pytest.fixture
def check(tmp_path, capsys):
    keys.create_signer(tmp_path / "k.pem")

    def run(raw):
        path = tmp_path / "agent.yaml"
        path.write_bytes(raw)
        code = cli.main(["check", str(path)])
        return code, capsys.readouterr().err.splitlines(), f"edge-agent: {path}:"

    return run


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_what_would_be_right(name, check):
    text, place, right = MISTAKES[name]
    code, said, head = check(text.encode())
    assert code == 2
    assert [line for line in said if line.startswith(head + place) and right in line], said


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_another_encoding_is_recognised(encoding, check):
    code, said, head = check(PLANT.replace("unit: V", "unit: 伏").encode(encoding))
    assert code == 2
    line = 13 if encoding == "gb18030" else 1
    (told,) = said
    assert told.startswith(f"{head}{line}: is no UTF-8 text: byte 0x")
    assert told.endswith(f"(it looks like {encoding.upper()}; save it as UTF-8)")


def test_the_plant_without_mistakes_is_right(check):
    assert check(PLANT.encode())[0] == 0
    assert check(changed("    tags:", "    lateness_s: 259200\n    tags:").encode())[0] == 0
    assert check(b"\xef\xbb\xbf" + PLANT.replace("\n", "\r\n").encode())[0] == 0
