"""MQTT topics: ``carbon/v1/{site}/{agent}/{kind}``."""

import re

from edge_agent.errors import WrongTopic

ROOT = "carbon/v1"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
NAME_RULE = "1 to 32 of a-z 0-9 _ -, a letter or digit first"


def topic(site: str, agent: str, kind: str) -> str:
    """The topic of one kind of message of one agent."""
    return f"{ROOT}/{site}/{agent}/{kind}"


def parse(text: str) -> tuple[str, str, str]:
    """Site, agent and kind of a topic.

    Raises:
        WrongTopic: it is not one of ours.
    """
    parts = text.split("/")
    if (
        len(parts) == 5
        and parts[:2] == ROOT.split("/")
        and NAME.match(parts[2])
        and NAME.match(parts[3])
        and parts[4] in ("batch", "config", "ack", "status")
    ):
        return parts[2], parts[3], parts[4]
    message = f"{text[:200]!r} is not {ROOT}/site/agent/kind"
    raise WrongTopic(message)
