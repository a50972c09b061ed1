"""Device templates: what a user writes, what becomes of it, and what is said when it is wrong."""

import textwrap

import pytest

from edge_agent import config, templates
from edge_agent.drivers import ModbusConfig
from edge_agent.errors import ConfigError


def agent_file(tmp_path, device):
    path = tmp_path / "agent.yaml"
    text = f"""
        site: al-001
        agent: gw-01
        state_dir: state
        keys: {{signing: a.pem, gateway: [g.pem]}}
        factor_set: cets-ag-04.01-v01-2024
        devices:
          - {device}
    """
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_a_template_and_a_unit_are_enough(tmp_path):
    written = "{id: m1, template: siemens-pac4200, host: 10.0.0.9, unit: 3, interval_s: 10}"
    (device,) = config.load(agent_file(tmp_path, written)).devices
    assert isinstance(device, ModbusConfig)
    energy = next(tag for tag in device.tags if tag.id == "m1.energy_import")
    assert (energy.address, energy.type, energy.unit) == (801, "float64", "kWh")
    assert energy.totaliser.modulus == 10**12
    assert device.max_gap == 0
    assert device.template.name == "siemens-pac4200"
    assert device.template.status == "unverified"
    assert len(device.template.sha256) == 64


def test_picked_tags_of_verified_sources_are_verified(tmp_path):
    written = (
        "{id: m1, template: siemens-pac4200, host: h, unit: 3, interval_s: 10, max_gap: 4,"
        " only: [energy_export, energy_import]}"
    )
    (device,) = config.load(agent_file(tmp_path, written)).devices
    assert [tag.id for tag in device.tags] == ["m1.energy_import", "m1.energy_export"]
    assert device.template.status == "verified"
    assert "A5E02316180B" in device.template.source
    assert device.max_gap == 4


def test_transformer_ratios_multiply_scale_and_range(tmp_path):
    written = (
        "{id: m1, template: acrel-dtsd1352, host: h, unit: 1, interval_s: 10,"
        " ratios: {ct: 120, pt: 1.5}}"
    )
    (device,) = config.load(agent_file(tmp_path, written)).devices
    scales = {tag.id: (tag.scale, tag.range) for tag in device.tags}
    assert scales["m1.energy_import"] == ("1.8", None)
    assert scales["m1.voltage_l1"] == ("0.15", (0, 900))
    assert scales["m1.frequency"] == ("0.01", (40, 70))


def test_the_units_an_instrument_was_set_to_are_the_tags(tmp_path):
    written = (
        "{id: gas, template: fox-thermal-ft3, host: h, unit: 1, interval_s: 10,"
        " units: {flow: Nm3/h, total: Nm3, temperature: degC}}"
    )
    (device,) = config.load(agent_file(tmp_path, written)).devices
    assert {tag.id: tag.unit for tag in device.tags}["gas.total"] == "Nm3"


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("{id: m, template: acrel, host: h, unit: 1, interval_s: 1}",
         "devices[0].template: there is no device template 'acrel' (known: abb-a43"),
        ("{id: m, template: acrel-dtsd1352, host: h, unit: 1, interval_s: 1}",
         "devices[0].ratios: the template needs ct: current transformer ratio"),
        ("{id: m, template: acrel-dtsd1352, host: h, unit: 1, interval_s: 1, ratios: {ct: 0, pt: 1}}",
         "devices[0].ratios.ct: found 0 (a number above 0)"),
        ("{id: m, template: siemens-pac4200, host: h, unit: 1, interval_s: 1, ratios: {ct: 5}}",
         "devices[0].ratios.ct: the template does not ask for this"),
        ("{id: m, template: siemens-pac4200, host: h, unit: 1, interval_s: 1, only: [power, watts]}",
         "devices[0].only: found 'watts' (known: voltage_l1"),
        ("{id: m, template: siemens-pac4200, host: h, unit: 1, interval_s: 1, only: []}",
         "devices[0].only: found []"),
        ("{id: m, template: siemens-pac4200, host: h, unit: 1, interval_s: 1, tags: []}",
         "devices[0].tags: stands beside template (only: [tag, ...] picks tags of a template)"),
        ("{id: m, template: siemens-pac4200, host: h, unit: 1, interval_s: 1, units: 7}",
         "devices[0].units: found 7"),
    ],
)  # fmt: skip
def test_a_wrong_use_of_a_template_names_line_key_and_what_is_right(tmp_path, device, said):
    with pytest.raises(ConfigError) as raised:
        config.load(agent_file(tmp_path, device))
    assert str(raised.value).startswith(f"{tmp_path / 'agent.yaml'}:8:")
    assert said in str(raised.value)


def test_two_devices_that_set_a_line_differently_stop_the_agent(tmp_path):
    serial = "transport: rtu, unit: 1, interval_s: 1, only: [power], template: eastron-sdm630"
    path = agent_file(tmp_path, f"{{id: a, {serial}, serial: {{port: /dev/ttyS0, baud: 9600}}}}")
    second = f"  - {{id: b, {serial}, serial: {{port: /dev/ttyS0, baud: 19200}}}}\n"
    path.write_text(path.read_text() + second)
    with pytest.raises(ConfigError, match="'a' and 'b' share /dev/ttyS0 .*9600 baud.*19200 baud"):
        config.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("source: s", "source: x"), "no source 'x'"),
        (("scale: 1", "times: [ct]"), "no ratio 'ct'"),
        (("name: meter", "name: other"), "is 'other' in a file named meter.yaml"),
        (("status: verified", "status: sure"), "status"),
        (("- {id: p", "- {id: p, address: 3, type: uint16, source: s}\n  - {id: p"), "twice"),
        (("marks: []", "marks: [{address: 0, type: uint16}]"), "either contains"),
        (("marks: []", "marks: [{address: 9, type: uint16, between: [1, 2], block: [1, 4]}]"), "block"),
    ],
)  # fmt: skip
def test_a_template_file_that_is_wrong_is_refused(tmp_path, change, said):
    path = tmp_path / "meter.yaml"
    text = textwrap.dedent("""
        name: meter
        maker: M
        model: X
        kind: gas
        accuracy_class: "1"
        sources:
          s: {document: "a manual", where: "page 1", status: verified}
        max_registers: 20
        marks: []
        tags:
          - {id: p, address: 1, type: uint16, source: s, scale: 1}
    """)
    path.write_text(text)
    assert templates.read(path)[0].status(templates.read(path)[0].tags) == "verified"
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(ConfigError, match=said):
        templates.read(path)


@pytest.mark.parametrize("name", templates.names())
def test_every_template_names_a_source_and_has_a_total(name):
    template, sha256 = templates.find(name)
    assert template.accuracy_class
    assert len(sha256) == 64
    assert all(len(source.document) > 15 for source in template.sources.values())
    assert any(tag.totaliser is not None for tag in template.tags)
