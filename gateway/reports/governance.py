"""Which keys signed the month's batches, and what people decided about keys and configurations.

The report shows decisions as their signers wrote them; whether they may say so is judged at the
gateway and by a verifier with a trust file.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.errors import CarbonError
from edge_agent.wire import cbor, cose
from edge_agent.wire.keys import key_id
from gateway.decisions import Paper
from gateway.evidence import KeyUse
from gateway.trust import clocks, statements
from gateway.trust.keyfold import KEYCHANGE
from gateway.trust.own_records import MONTH, PERSON

TITLES: Mapping[str, tuple[str, str]] = {
    "enrol": ("密钥登记", "key enrolled"),
    "keychange": ("密钥更换", "key changed"),
    "revoke": ("密钥吊销", "key revoked"),
    "release": ("迟到批次放行", "late batches let in"),
    "relabel": ("批次存疑", "batches made suspect"),
    "approval": ("配置批准", "configuration approved"),
    "clock_mark": ("时钟超前标记", "clock ahead marked"),
    "clock_verdict": ("时钟超前裁定", "batches of a clock ahead decided"),
    "person_revoke": ("人员密钥吊销", "person's key revoked"),
    "month": ("月度关账", "month closed"),
}
"""Kinds of decisions in Chinese and English."""


def to_plain(papers: Iterable[Paper], keys: Sequence[KeyUse]) -> dict[str, Any]:
    """Keys by agent with the batches that they signed, and the site's decisions by arrival."""
    return {
        "keys": [
            {
                "agent": one.agent,
                "key": one.kid.hex(),
                "first_seq": one.first_seq,
                "last_seq": one.last_seq,
            }
            for one in keys
        ],
        "decisions": [_decision(paper) for paper in papers],
    }


def _decision(paper: Paper) -> dict[str, Any]:
    zh, en = TITLES[paper.kind]
    try:
        said = _said(paper)
    except (CarbonError, AttributeError, LookupError, TypeError, ValueError):
        said = {"at": paper.received_ns, "by": "", "reason": "", "about": "not readable 不可读"}
    return {
        "kind": paper.kind,
        "zh": zh,
        "en": en,
        "agent": paper.id,
        "version": paper.version,
        **said,
        "sha256": paper.sha256.hex(),
    }


def _said(paper: Paper) -> dict[str, Any]:
    if paper.kind == KEYCHANGE:
        batch = cbor.decode(cose.parse(paper.raw).payload, finite=False)
        return {
            "at": int(batch["t1"]),
            "by": "",
            "reason": "",
            "about": f"batch {batch['seq']}",
        }
    said = statements.unchecked(paper.raw)
    return {
        "at": int(said["at"]),
        "by": str(said["by"]),
        "reason": str(said["reason"]),
        "about": _about(paper.kind, said),
    }


def _about(kind: str, said: Mapping[str, Any]) -> str:
    """What a decision is about: a configuration, a key, a range of batches."""
    if kind == "approval":
        clause = f", clause {said['clause']}" if said["clause"] else ""
        return f"configuration {said['config'].hex()} of {said['author']}{clause}"
    if kind in (clocks.MARK, clocks.VERDICT):
        return _about_clocks(kind, said)
    if kind in (MONTH, PERSON):
        return _about_own(kind, said)
    if kind == "enrol":
        return f"key of SHA-256 {key_id(said['spki']).hex()}"
    rest = f"batches {said['first_seq']}-{said['last_seq']}" if kind == "relabel" else ""
    if kind == "revoke":
        rest = f"good up to batch {said['last_good_seq']}"
    if kind == "release":
        rest = f"up to batch {said['last_seq']}"
    return f"key of SHA-256 {said['kid'].hex()}, {rest}"


def _about_own(kind: str, said: Mapping[str, Any]) -> str:
    if kind == MONTH:
        return f"{said['month']}, manifest of SHA-256 {said['manifest'].hex()}"
    return f"key of SHA-256 {said['kid'].hex()} of {said['name']}"


def _about_clocks(kind: str, said: Mapping[str, Any]) -> str:
    if kind == clocks.MARK:
        return f"{'ahead' if said['ahead'] else 'no longer ahead'} from batch {said['seq']} on"
    fate = "counted" if said["counts"] else "left out"
    return f"batches {said['first_seq']}-{said['last_seq']} {fate}"
