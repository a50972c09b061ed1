"""Coverage-guided fuzzing of dropped table files."""

import sys

import atheris

with atheris.instrument_imports(include=["edge_agent.drivers"]):
    from edge_agent.drivers.file_drop_rows import FileDropConfig, harmless, read
    from edge_agent.errors import DeviceError

BASE = {"driver": "file_drop", "id": "d", "folder": "in", "time": "t"}
TAGS = [
    {"id": "m", "column": "m"},
    {"id": "n", "column": "n", "totaliser": {}, "where": {"k": "a"}},
]
CONFIGS = [
    FileDropConfig.model_validate({**BASE, "tags": TAGS, **fields})
    for fields in (
        {},
        {"encoding": "gb18030"},
        {"encoding": "utf-16"},
        {"delimiter": ";", "decimal": ",", "encoding": "latin-1"},
    )
]
NOW_NS = 1_790_000_000_000_000_000


def one_input(raw: bytes) -> None:
    """Read a table, with or without its titles in front."""
    data = atheris.FuzzedDataProvider(raw)
    config = CONFIGS[data.ConsumeIntInRange(0, len(CONFIGS) - 1)]
    titles = config.delimiter.join("tmnk") + "\n"
    head = titles.encode("utf-16" if config.encoding == "utf-16" else "ascii")
    whole = (head if data.ConsumeBool() else b"") + data.ConsumeBytes(data.remaining_bytes())
    try:
        table = read(whole, config, NOW_NS)
    except DeviceError:
        return
    again = read(whole, config, NOW_NS)
    if again.samples != table.samples:
        raise AssertionError("the same bytes give other readings")
    for row in table.rejected:
        if harmless(row.text)[:1] in ("=", "@", "+", "-"):
            raise AssertionError("a spreadsheet would run this")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
