"""The baseline of the acquisition benchmark: pymodbus alone, a task a unit, values thrown away.

python benchmarks/bare_pymodbus.py --ports 5020,5021 --registers 100 --interval 1
"""

import argparse
import asyncio
import sys

from pymodbus.client import AsyncModbusTcpClient


async def poll(port: int, units: int, registers: int, interval_s: float) -> None:
    """Read all units of a line in turn, on one connection, for ever."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        for unit in range(1, units + 1):
            answer = await client.read_holding_registers(0, count=registers, device_id=unit)
            if len(answer.registers) != registers:
                raise SystemExit(f"unit {unit} answered {answer}")
        due_s = max(due_s + interval_s, loop.time())
        await asyncio.sleep(due_s - loop.time())


async def main() -> int:
    """Poll every line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", required=True)
    parser.add_argument("--units", type=int, default=1)
    parser.add_argument("--registers", type=int, default=100)
    parser.add_argument("--interval", type=float, default=1.0)
    args = parser.parse_args()
    async with asyncio.TaskGroup() as group:
        for port in map(int, args.ports.split(",")):
            group.create_task(poll(port, args.units, args.registers, args.interval))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
