"""What a verifier must see beside the values: effects, incidents, unverified factors."""

import math
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from edge_agent.calc.factors import SITE, UNVERIFIED, VERIFIED
from edge_agent.calc.windows import NS_PER_S, to_local
from edge_agent.readings import Event
from gateway.month.hours import LOOKBACK_NS
from gateway.month.model import Work
from gateway.month.shapes import is_well_formed

_UTC = ZoneInfo("UTC")
_MOST_HOURS = 24


def tell_events(work: Work, events: Sequence[Event]) -> None:
    """The month's effects (by start), and the incidents a verifier must see."""
    start_ns, end_ns = work.result.start_ns, work.result.end_ns
    first_ns, last_ns = start_ns - LOOKBACK_NS, end_ns + LOOKBACK_NS
    events = [event for event in events if first_ns <= event["t"] < last_ns]
    given, events = events, [event for event in events if is_well_formed(event)]
    if len(events) < len(given):
        work.reserve(f"{len(given) - len(events)} malformed events left out 格式错误的事件未采用")
    work.result.effects = sorted(
        (
            event
            for event in events
            if event["type"] == "effect_ended" and start_ns <= event["start"] < end_ns
        ),
        key=lambda event: (event["start"], event["line"], event["pot"]),
    )
    inside = [event for event in events if start_ns <= event["t"] < end_ns]
    for kind, text in _INCIDENTS.items():
        found = [event for event in inside if event["type"] == kind]
        if kind == "tag_quality":
            found = [event for event in found if event["severity"] != "good"]
        if found:
            work.reserve(text(found))


def _gap_text(found: Sequence[Event]) -> str:
    seconds = math.fsum(
        (item["to"] - item["from"]) / NS_PER_S * len(item["pots"]) for item in found
    )
    return f"{seconds:.0f} pot-seconds without a usable pot voltage 槽电压缺失"


def _quality_text(found: Sequence[Event]) -> str:
    """Which tags were not plainly good, by reason."""
    tags: dict[str, set[str]] = {}
    for event in found:
        tags.setdefault(f"{event['severity']} ({event['reason']})", set()).add(event["tag"])
    parts = [f"{kind}: {', '.join(sorted(names))}" for kind, names in sorted(tags.items())]
    return f"measurement quality 测量质量: {'; '.join(parts)}"


def _resumed_text(found: Sequence[Event]) -> str:
    """Each outbox that was lost: since when its data are missing, who went on, and why."""
    parts = [
        f"lost since {_utc(item['lost_since'])}, continued {_utc(item['t'])}, "
        f"{item['reason']} ({item['operator']})"
        for item in found
    ]
    return f"{len(found)} outboxes lost with their disk 采集端磁盘丢失后续接: {'; '.join(parts)}"


def _utc(time_ns: int) -> str:
    return f"{to_local(time_ns, _UTC):%Y-%m-%dT%H:%MZ}"


def _hours(found: Sequence[Event]) -> str:
    """The hours (UTC) of events, each once."""
    hours = sorted({f"{to_local(item['t'], _UTC):%Y-%m-%dT%H}Z" for item in found})
    more = f" and {len(hours) - _MOST_HOURS} more" if len(hours) > _MOST_HOURS else ""
    return ", ".join(hours[:_MOST_HOURS]) + more


_INCIDENTS: dict[str, Callable[[Sequence[Event]], str]] = {
    "gap": _gap_text,
    "late_samples": lambda found: (
        f"{sum(item['count'] for item in found)} late samples left out 迟到数据未计入"
    ),
    "totaliser_reset": lambda found: f"{len(found)} totaliser resets 累计量归零",
    "totaliser_rollover": lambda found: f"{len(found)} totaliser roll-overs 累计量翻转",
    "tag_quality": _quality_text,
    "clock_step": lambda found: f"{len(found)} clock steps 时钟跳变: {_hours(found)}",
    "lost_records": lambda found: f"{sum(item['count'] for item in found)} records lost 记录丢失",
    "resumed": _resumed_text,
    "started": lambda found: f"{len(found)} starts of the agent 采集程序启动",
}


def _tell_plan(work: Work) -> None:
    """A month that the control plan's validity does not cover, or a missing plan."""
    plan = work.config.get("control_plan")
    if not plan:
        work.reserve("the site has no control plan 无数据质量控制方案")
        return
    first, last = (
        to_local(moment, work.zone).date().isoformat()
        for moment in (work.result.start_ns, work.result.end_ns - 1)
    )
    if first < plan["valid_from"] or last > (plan["valid_to"] or last):
        work.reserve(
            f"control plan {plan['id']} v{plan['version']} is valid from {plan['valid_from']} to "
            f"{plan['valid_to'] or 'further notice'}, not for the whole month 控制方案有效期未覆盖全月"
        )


def reservations(work: Work) -> None:
    """What was used without a check: the plan, factors, open options, a site's own values."""
    _tell_plan(work)
    for factor_id, factor in sorted(work.used.items()):
        if factor.status == UNVERIFIED:
            work.reserve(
                f"factor {factor_id} = {factor.value:g} {factor.unit} is unverified 因子未经核实"
            )
        elif factor.status == SITE:
            work.reserve(
                f"factor {factor_id} = {factor.value:g} {factor.unit} is the site's own value, "
                f"{factor.reason} 企业自定因子"
            )
    for name, option in sorted(work.choices.items()):
        if option.status != VERIFIED:
            work.reserve(f"option {name} = {option.value} is {option.status} 选项未经核实")
