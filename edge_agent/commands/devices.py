"""``edge-agent devices list`` and ``devices show NAME``: the device templates there are."""

import argparse
from typing import Any

from edge_agent import templates
from edge_agent.commands.tables import table
from edge_agent.templates import Template, TemplateTag


def add(verbs: Any) -> None:
    """Add the verb to the program's parser."""
    help_ = "List the device templates, or show one with its registers and their source."
    parser = verbs.add_parser("devices", help=help_, description=help_)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="every template").set_defaults(function=list_all)
    show_parser = actions.add_parser("show", help="one template")
    show_parser.add_argument("name", help="such as siemens-pac4200")
    show_parser.set_defaults(function=show)


def list_all(_args: argparse.Namespace) -> int:
    """Print every template in a line."""
    rows = [("NAME", "MAKER", "MODEL", "KIND", "STATUS", "TAGS", "ASKS FOR")]
    for name in templates.names():
        template, _ = templates.find(name)
        asks = ", ".join([*template.ratios, *(f"unit of {word}" for word in template.units)])
        rows.append(
            (
                name,
                template.maker,
                template.model,
                template.kind,
                template.status(template.tags),
                str(len(template.tags)),
                asks or "-",
            )
        )
    print("\n".join(table(rows)))
    return 0


def show(args: argparse.Namespace) -> int:
    """Print one template: what it is, its sources, its tags, and how to use it."""
    template, sha256 = templates.find(args.name)
    print(f"{template.maker} {template.model} ({template.kind})")
    print(f"accuracy class {template.accuracy_class} ({template.accuracy_status})")
    print(f"file sha256 {sha256}")
    for name, source in template.sources.items():
        print(f"source {name}: {source.document}; {source.where} [{source.status}]")
        if source.note:
            print(f"    {source.note}")
    if template.notes:
        print(f"note: {template.notes}")
    rows: list[tuple[str, ...]] = [
        ("TAG", "TABLE", "ADDRESS", "TYPE", "ORDER", "SCALE", "UNIT", "SOURCE")
    ]
    rows += [_row(template, tag) for tag in template.tags]
    print("", *table(rows), "", *_usage(template), sep="\n")
    return 0


def _row(template: Template, tag: TemplateTag) -> tuple[str, ...]:
    scale = " x ".join([tag.scale, *tag.times])
    order = tag.order or template.order
    source = f"{tag.source} [{template.sources[tag.source].status}]"
    address = f"{tag.address} ({tag.address:#06x})"
    return (tag.id, tag.table, address, tag.type, order, scale, tag.unit or "-", source)


def _usage(template: Template) -> list[str]:
    lines = [
        "to use it:",
        f"  - {{id: my-meter, template: {template.name}, host: 192.0.2.10, unit: 1, interval_s: 10",
    ]
    for name, wanted in (("ratios", template.ratios), ("units", template.units)):
        if wanted:
            example = "1" if name == "ratios" else "…"
            lines[-1] += f", {name}: {{{', '.join(f'{word}: {example}' for word in wanted)}}}"
    lines[-1] += "}"
    for word, meaning in {**template.ratios, **template.units}.items():
        lines.append(f"    {word}: {meaning}")
    return lines
