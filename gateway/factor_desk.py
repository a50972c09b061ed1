"""``carbon-gateway factors``: which sets there are, what stands in one, how two differ."""

import argparse
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edge_agent import factor_sets
from edge_agent.calc.factors import VERIFIED, Factor, FactorSet
from edge_agent.wire import cbor

Row = Sequence[str]
_ABSENT = "-"


def add_verbs(words: Any) -> None:
    """The words ``factors list``, ``factors show`` and ``factors diff``."""
    subject = words.add_parser("factors", help="list, show and compare factor sets")
    verbs = subject.add_subparsers(required=True, metavar="VERB")
    for name, run, sets, help_ in (
        ("list", list_sets, (), "every set, with counts of verified and unverified values"),
        ("show", show_set, ("set",), "every value of a set with unit, status and source"),
        ("diff", diff_sets, ("set_a", "set_b"), "where two sets differ"),
    ):
        verb = verbs.add_parser(name, help=help_, description=run.__doc__)
        for argument in sets:
            verb.add_argument(argument, metavar=argument.upper(), help="id of a factor set")
        verb.add_argument("--folder", type=Path, help="your own sets instead of those shipped")
        verb.add_argument("--json", action="store_true", help="for programs")
        verb.set_defaults(run=run)


def list_sets(args: argparse.Namespace) -> int:
    """List the factor sets: version, values, how many are verified, open choices."""
    rows = []
    for name in factor_sets.names(args.folder):
        item = factor_sets.find(name, args.folder)
        every = list(item.all())
        verified = sum(factor.status == VERIFIED for factor in every)
        rows.append(
            {
                "id": item.id,
                "version": item.version,
                "values": len(every),
                "verified": verified,
                "unverified": len(every) - verified,
                "options": len(item.options),
                "title": item.title,
            }
        )
    if args.json:
        _print_json(rows)
    else:
        head = list(rows[0]) if rows else []
        print("\n".join(table(head, [[str(value) for value in row.values()] for row in rows])))
    return 0


def show_set(args: argparse.Namespace) -> int:
    """Show a set: its choices, every value, and the documents they come from.

    A value marked ``*`` is in force under the choices taken; the others stand by.
    """
    item = factor_sets.find(args.set, args.folder)
    plain = factor_sets.to_plain(item)
    digest = hashlib.sha256(cbor.encode(plain)).hexdigest()
    if args.json:
        _print_json(plain | {"sha256": digest})
        return 0
    issued = f", issued {item.issued}" if item.issued else ""
    print(f"{item.id} version {item.version}{issued}\n{item.title}\nsha256 {digest}")
    keys = {text: key for key, text in plain["sources"].items()}
    if item.options:
        choices = [
            (name, str(option.value), option.status, keys[option.source], option.note)
            for name, option in item.options.items()
        ]
        print("", *table(("option", "taken", "status", "source", "note"), choices), sep="\n")
    head = ("", "id", "value", "unit", "status", "applies", "u95", "source", "clause and note")
    print("", *table(head, [_factor_row(item, factor, keys) for factor in item.all()]), sep="\n")
    print("", *table(("source", "document"), list(plain["sources"].items())), sep="\n")
    return 0


def diff_sets(args: argparse.Namespace) -> int:
    """Show where two sets differ, each under the choices it takes."""
    first, second = (factor_sets.find(name, args.folder) for name in (args.set_a, args.set_b))
    found = differences(first, second)
    if args.json:
        _print_json(found)
        return 0
    head = ("id", "unit", first.id, second.id, "change")
    changed = [
        (row["id"], row["unit"], _number(row["a"]), _number(row["b"]), row["change"])
        for row in found["changed"]
    ]
    print(f"{len(changed)} values differ, {found['same']} are the same")
    if changed:
        print("", *table(head, changed), sep="\n")
    for name, key in ((first.id, "only_a"), (second.id, "only_b")):
        rows = [(row["id"], _number(row["value"]), row["unit"]) for row in found[key]]
        print(f"\n{len(rows)} values only in {name}")
        if rows:
            print(*table(("id", "value", "unit"), rows), sep="\n")
    options = [(row["name"], str(row["a"]), str(row["b"])) for row in found["options"]]
    if options:
        print("\nchoices")
        print(*table(("option", first.id, second.id), options), sep="\n")
    return 0


def differences(first: FactorSet, second: FactorSet) -> dict[str, Any]:
    """What differs between two sets as plain values; each set under its own choices."""
    a, b = _in_force(first), _in_force(second)
    both = [factor_id for factor_id in a if factor_id in b]
    changed = [
        {
            "id": factor_id,
            "unit": a[factor_id].unit,
            "a": a[factor_id].value,
            "b": b[factor_id].value,
            "change": _change(a[factor_id], b[factor_id]),
        }
        for factor_id in both
        if (a[factor_id].value, a[factor_id].unit) != (b[factor_id].value, b[factor_id].unit)
    ]
    names = sorted({*first.options, *second.options})
    taken = {
        name: [one.options[name].value if name in one.options else None for one in (first, second)]
        for name in names
    }
    return {
        "a": first.id,
        "b": second.id,
        "same": len(both) - len(changed),
        "changed": changed,
        "only_a": [_plain(item) for key, item in a.items() if key not in b],
        "only_b": [_plain(item) for key, item in b.items() if key not in a],
        "options": [{"name": key, "a": x, "b": y} for key, (x, y) in taken.items() if x != y],
    }


def _in_force(item: FactorSet) -> dict[str, Factor]:
    return {key: item.get(key) for key in sorted(item.factors) if key in item}


def _plain(factor: Factor) -> dict[str, Any]:
    return {"id": factor.id, "value": factor.value, "unit": factor.unit}


def _change(a: Factor, b: Factor) -> str:
    if a.unit != b.unit:
        return f"unit: {b.unit}"
    return f"{100 * (b.value / a.value - 1):+.2f} %" if a.value else "from zero"


def _factor_row(item: FactorSet, factor: Factor, keys: dict[str, str]) -> Row:
    applies = [factor.when] if factor.when else []
    if factor.valid_from:
        applies.append(f"from {factor.valid_from}")
    if factor.valid_to:
        applies.append(f"to {factor.valid_to}")
    uncertainty = factor.relative_uncertainty
    return (
        "*" if item.applies(factor) else "",
        factor.id,
        _number(factor.value),
        factor.unit,
        factor.status,
        " ".join(applies),
        "" if uncertainty is None else f"{100 * uncertainty:g} %",
        keys[factor.source],
        "; ".join(part for part in (factor.clause, factor.note) if part),
    )


def _number(value: float) -> str:
    return f"{value:.12g}"


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def table(head: Row, rows: Iterable[Row]) -> list[str]:
    """Lines of a table: columns as wide as their widest cell, the last one ragged."""
    body = [head, *rows]
    widths = [max(len(row[column]) for row in body) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in body
    ]
    return [lines[0], "-" * min(120, sum(widths) + 2 * len(widths)), *lines[1:]]
