"""The keys in force: the listed ones, and what decisions in the ledger made of them.

Folded in the order in which the documents arrived, each checked again (see ``keyfold``).
"""

import logging
from collections.abc import Sequence

from edge_agent.errors import CarbonError
from edge_agent.wire.keys import Enrolment
from gateway.config import GatewayConfig, key_ring
from gateway.ledger.documents import Documents
from gateway.trust.keyfold import Decision, KeyFold
from gateway.trust.people import People, load_people

log = logging.getLogger(__name__)


class KeyBook(KeyFold):
    """A key ring that follows the ledger."""

    def __init__(self, listed: Sequence[Enrolment], people: People, documents: Documents) -> None:
        super().__init__(listed, people)
        self._documents = documents
        self._number = 0
        self.refresh()

    def refresh(self) -> bool:
        """Take up documents that were added since the last call.

        Returns:
            Whether there were any.
        """
        if self._documents.last_number() == self._number:
            return False
        for one in self._documents.all(after=self._number):
            self._number = one.number
            try:
                self.take(Decision(one.kind, one.site, one.id, one.raw, one.received_ns))
            except CarbonError as error:
                # Who writes into the file without a person's key changes nothing but this line.
                log.error("document_ignored number=%d kind=%s: %s",  # noqa: TRY400  no traceback
                          one.number, one.kind, error)  # fmt: skip
        return True


def open_keybook(config: GatewayConfig, documents: Documents) -> KeyBook:
    """The keys in force by the gateway's file and the ledger.

    Raises:
        ConfigError: a key file is unusable.
    """
    return KeyBook(key_ring(config).enrolments(), load_people(config), documents)
