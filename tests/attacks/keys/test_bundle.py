"""What a gateway could leave out, swap or add among the decisions and papers of a bundle it signs."""

import hashlib
import io
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from enrolled_month import (
    CERTIFICATE,
    CHANGE_AT,
    CONFIG_AT,
    FIRST_KEY,
    GATEWAY,
    LOG,
    SECOND_KEY,
    SEEN,
    T0,
    WITNESS,
    EnrolledMonth,
)
from enrolled_plant import AGENT, SITE, Plant
from openpyxl import load_workbook

from edge_agent.wire import cbor, certificates, cose, notes
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, public_key
from gateway import bundle as bundle_
from gateway import decisions, lab, leaf_list, ledger_audit, log_evidence, trust_file
from gateway import verify as verify_
from gateway.bundle import BundleError
from gateway.cli import main
from gateway.evidence import BatchReader, EvidenceGap, batch_range, replay
from gateway.reports import governance, render
from gateway.trust import authority, offline, statements
from gateway.trust.keyfold import KeyFold
from gateway.trust.persons import People, Person

REVOKE = "the log holds revoke of gw-01 version 1"


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    made = EnrolledMonth(tmp_path_factory.mktemp("month"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def bundle(month):
    return month.make()


def lines(verdict, start):
    return [line.split(None, 2)[2] for line in verdict.lines if line.startswith(start)]


# -- the untouched bundle -----------------------------------------------------------------------


def test_a_month_with_a_rotated_and_revoked_key_is_proven_by_ca_and_persons(month, bundle):
    verdict = verify_.verify(bundle, month.trust())
    assert verdict.proven, verdict.difference
    (keys,) = lines(verdict, "2 keys")
    assert keys == "2 keys in the trust file, 2 enrolled under 1 CA"
    (told,) = lines(verdict, "2 decisions")
    assert told.startswith("2 enrolments, 1 changes of key, 1 revocations, 0 releases")
    assert lines(verdict, "6 approvals") == ["2 checked, 0 runs of batches without one"]
    assert lines(verdict, "6 attachments") == ["1 as signed, 0 not inside"]
    size = month.ledger.tree.size()
    assert lines(verdict, "5 leaves")[0].startswith(f"{size}, no decision and no version")
    # invitations are no evidence; everything else in the log is inside
    invites = len(list(month.ledger.documents.all("invite")))
    assert lines(verdict, "5 log")[0].startswith(f"{size - invites} documents in carbon-log/test")


def test_a_change_of_meaning_inside_the_month_is_shown_before_and_after(month, bundle):
    (told,) = lines(verify_.verify(bundle), "6 changed")
    assert told.startswith(f"{AGENT} from batch {CONFIG_AT}: range: devices.potroom.tags.")
    assert told.endswith("[-1.0, 700.0] -> [0, 499]")


def test_the_report_shows_keys_and_decisions_in_both_languages(month, bundle):
    files = bundle_.read(bundle).files
    told = json.loads(files["report.json"])["governance"]
    assert [(one["key"], one["first_seq"], one["last_seq"]) for one in told["keys"]] == [
        (FIRST_KEY.kid.hex(), 1, CHANGE_AT),
        (SECOND_KEY.kid.hex(), CHANGE_AT + 1, 18),
    ]
    assert [(one["kind"], one["by"], one["reason"]) for one in told["decisions"]] == [
        ("enrol", "li", "as told"),
        ("approval", "wang", "checked"),
        ("approval", "wang", "checked"),
        ("enrol", "li", "as told"),
        ("keychange", "", ""),
        ("revoke", "li", "stolen"),
    ]
    sheet = load_workbook(io.BytesIO(files["report.xlsx"]))["decisions 决定"]
    cells = [str(value) for row in sheet.iter_rows(values_only=True) for value in row if value]
    digest = hashlib.sha256(month.documents[1]).hexdigest()
    for text in (
        "密钥吊销",
        "key revoked",
        "配置批准",
        f"configuration {digest} of chen, clause 3.2",
    ):
        assert text in cells


def test_a_document_that_nobody_can_read_stands_in_the_report_as_such():
    paper = decisions.Paper("approval", SITE, AGENT, 1, T0, b"no message")
    (one,) = governance.to_plain([paper], [])["decisions"]
    assert one["about"] == "not readable 不可读"


def test_two_runs_print_identical_bytes(month, bundle, capsys):
    month.trust()
    command = ["verify", str(bundle), "--trust", str(month.folder / "trust.toml")]
    assert main(command) == 3
    first = capsys.readouterr().out
    assert main(command) == 3
    assert capsys.readouterr().out == first
    assert first.startswith("match\n1 manifest")


def test_without_a_trust_file_keys_come_from_the_bundle_as_before(bundle):
    verdict = verify_.verify(bundle)
    assert verdict.proven, verdict.difference
    assert "taken from the bundle itself" in lines(verdict, "2 keys")[0]
    assert not lines(verdict, "6 approvals")
    assert not any("审批" in line or "CA" in line for line in verdict.lines)


GATEWAY_FILE = """\
state_dir: .
keys: {{ack: k/gateway.pem, log: k/log.pem}}
mqtt: {{host: localhost, client_id: gateway}}
approval: required
log: {{installation: test, witnesses: [{{name: {witness}, public_key: k/seen.pub, url: "http://x"}}]}}
authorities: [{{certificate: ca/ca.crt, fingerprint: {fingerprint}}}]
people:
{people}
"""


def test_the_printed_trust_file_proves_the_bundle(month, bundle, tmp_path, capsys):
    folder = month.folder / "k"
    folder.mkdir(mode=0o700)
    for name, signer in (("gateway", GATEWAY), ("log", LOG)):
        pem = signer._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem)
        (folder / f"{name}.pem").chmod(0o600)
    (folder / "seen.pub").write_bytes(SEEN.public_pem())
    people = []
    for one in month.people:
        (folder / f"{one.name}.pub").write_bytes(one.public.spki)
        entry = {"name": one.name, "public_key": f"k/{one.name}.pub", "roles": sorted(one.roles)}
        people.append(f"  - {json.dumps(entry)}")
    text = GATEWAY_FILE.format(
        witness=WITNESS,
        fingerprint=certificates.fingerprint(month.plant.ca.certificate),
        people="\n".join(people),
    )
    (month.folder / "gateway.yaml").write_text(text, encoding="utf-8")
    assert main(["trust", str(month.folder / "gateway.yaml")]) == 0
    (tmp_path / "printed.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    trust = trust_file.load(tmp_path / "printed.toml")
    assert trust.approval
    assert FIRST_KEY.kid not in trust.keys
    verdict = verify_.verify(bundle, trust)
    assert verdict.proven, verdict.difference
    assert lines(verdict, "2 keys") == ["2 keys in the trust file, 2 enrolled under 1 CA"]


# -- a trust file that says less, or something else -----------------------------------------------


@pytest.mark.parametrize(
    ("without", "told"),
    [
        (("ca",), "names no CA"),
        (("ca", "person"), "names no person"),
        (("log", "witness", "quorum"), "the log's key comes from the bundle itself"),
    ],
)
def test_an_anchor_that_is_not_given_is_a_reservation(month, bundle, without, told):
    kids = [one.kid.hex() for one in (GATEWAY, FIRST_KEY, SECOND_KEY)]
    kids += [one.public.kid.hex() for one in month.people]
    verdict = verify_.verify(bundle, month.trust(without=without, trusted=kids))
    assert verdict.proven, verdict.difference
    assert any(told in text for text in lines(verdict, "9"))


def test_an_enrolment_under_another_ca_of_the_same_name_is_refused(month, bundle, tmp_path):  # 37
    other = authority.init(tmp_path / "ca", "plant-ca", T0)
    verdict = verify_.verify(bundle, month.trust(ca=other.certificate))
    assert "enrol/gw-01/1" in verdict.difference
    assert "not issued by a pinned CA" in verdict.difference


def renamed(month, old, **changes):
    return [
        Person(**{"name": one.name, "public": one.public, "roles": one.roles} | changes)
        if one.name == old
        else one
        for one in month.people
    ]


@pytest.mark.parametrize(
    ("old", "changes", "told"),
    [
        ("wang", {"name": "chen"}, "says 'wang', its key is chen's"),
        ("wang", {"roles": frozenset({"operator"})}, "wang is no approver"),
        ("wang", {"revoked_ns": T0 - 2 * 86_400 * 10**9}, "the key of wang is revoked"),
        ("li", {"roles": frozenset({"operator"}), "revoked_ns": T0}, "the key of li is revoked"),
        ("zhou", {"name": "wu"}, "signs lab values as 'zhou'; in the trust file it is 'wu'"),
        ("zhou", {"roles": frozenset({"approver"})}, "signs lab values as 'zhou'"),
        ("zhou", {"revoked_ns": T0}, "lab document october v1: the key of zhou was revoked"),
    ],
)
def test_who_signed_is_who_the_trust_file_says_and_was_good_then(month, bundle, old, changes, told):
    verdict = verify_.verify(bundle, month.trust(persons=renamed(month, old, **changes)))
    assert told in verdict.difference


def test_a_signer_whom_the_trust_file_does_not_know_is_refused(month, bundle):
    others = [one for one in month.people if one.name != "wang"]
    assert "is no person's" in verify_.verify(bundle, month.trust(persons=others)).difference


# -- a gateway that signs another bundle and proves it anew ---------------------------------------


def forged(month, bundle, tmp_path, change, *, prove=True):
    """The bundle with its files changed, signed by the gateway, with a new proof of what is left."""
    files = dict(bundle_.read(bundle).files)
    files.pop(bundle_.MANIFEST)
    change(files)
    if prove:
        inside = bundle_.Bundle(files)
        ring = KeyRing(
            [
                Enrolment(SITE, AGENT, public_key(one.public_spki()))
                for one in (FIRST_KEY, SECOND_KEY)
            ]
        )
        ranges = [replay(SITE, AGENT, inside.batches(AGENT), ring, BatchReader())]
        papers = lab.check(SITE, bundle_.lab_documents(inside), bundle_.person_keys(inside))
        leaves = log_evidence.leaves_of(SITE, ranges, files)
        leaves |= decisions.leaves(decisions.read(inside, SITE)) | lab.leaves(papers)
        made = month.ledger.tree.checkpoint()
        files |= log_evidence.pack(month.ledger.tree, made.size, made.note, made.key, leaves)
        report = json.loads(files["report.json"])
        report["governance"] |= {
            "decisions": governance.to_plain(decisions.read(inside, SITE), [])["decisions"]
        }
        files["report.json"] = render.to_json(report)
        files["report.xlsx"] = render.to_xlsx(report)
    path = tmp_path / "forged.bundle"
    bundle_.write(path, files, GATEWAY)
    return path


def without(kind, version, *, renumber=False):
    """Leaves a decision out of list and folder."""

    def change(files):
        index = cbor.decode(files[decisions.INDEX])
        (gone,) = [item for item in index if (item[0], item[2]) == (kind, version)]
        index.remove(gone)
        for item in index if renumber else ():
            if item[0] == kind and item[2] > version:
                item[2] -= 1
        files[decisions.INDEX] = cbor.encode(index)
        files.pop(f"{decisions.FOLDERS[kind]}/{gone[4].hex()}.cose")

    return change


def no_list(change):
    """The same, and the log's leaves left out with it."""

    def both(files):
        change(files)
        files.pop(leaf_list.FILE)

    return both


def without_correction(files):
    raws = {name: raw for name, raw in files.items() if name.startswith("lab/") and "." in name}
    (name,) = [
        name for name, raw in raws.items() if cbor.decode(cose.parse(raw).payload)["version"] == 2
    ]
    files.pop(name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("approval", 2), "the log holds approval of gw-01 version 2"),
        (without("revoke", 1), REVOKE),
        (without("enrol", 2), ""),
        (without_correction, "the log holds lab october version 2"),
    ],
    ids=["approval", "revocation", "enrolment", "correction"],
)
def test_what_was_left_out_is_named_by_the_log_s_own_leaves(month, bundle, tmp_path, change, told):
    path = forged(month, bundle, tmp_path, change)
    verdict = verify_.verify(path, month.trust())
    assert not verdict.proven
    assert told in verdict.difference


def test_a_configuration_whose_approval_was_removed_stands_without_one(month, bundle, tmp_path):
    path = forged(month, bundle, tmp_path, no_list(without("approval", 2)))
    verdict = verify_.verify(path, month.trust())
    assert "batches 10-18 of gw-01" in verdict.difference
    assert "is not approved" in verdict.difference
    verdict = verify_.verify(path, month.trust(approval="off"))
    assert verdict.proven, verdict.difference
    assert any(
        "batches 10-18" in text and "is not approved" in text for text in lines(verdict, "9")
    )


def test_an_approval_removed_from_the_middle_leaves_a_hole(month, bundle, tmp_path):
    def change(files):
        without("approval", 1)(files)
        files.pop(leaf_list.FILE)

    path = forged(month, bundle, tmp_path, change, prove=False)
    assert (
        "approval of gw-01 version 1 is missing" in verify_.verify(path, month.trust()).difference
    )


def swapped_approval(files):
    """Another approval by the same approver in the place of the second, which the log never saw."""
    index = cbor.decode(files[decisions.INDEX])
    item = next(item for item in index if (item[0], item[2]) == ("approval", 2))
    old = files.pop(f"approvals/{item[4].hex()}.cose")
    fields = cbor.decode(cose.parse(old).payload) | {"reason": "another reason"}
    fields.pop("v")
    raw = statements.sign(MessageType.APPROVAL, fields, Plant.approver)
    item[4] = hashlib.sha256(raw).digest()
    files |= {f"approvals/{item[4].hex()}.cose": raw, decisions.INDEX: cbor.encode(index)}


def test_a_swapped_approval_is_not_in_the_log(month, bundle, tmp_path):
    path = forged(month, bundle, tmp_path, swapped_approval, prove=False)
    assert "do not give the root" in verify_.verify(path, month.trust()).difference


def test_a_hidden_revocation_without_the_log_s_leaves_is_a_reservation(month, bundle, tmp_path):
    """No proof of inclusion says what else there is: that limit is told, never passed over."""
    path = forged(month, bundle, tmp_path, no_list(without("revoke", 1)))
    verdict = verify_.verify(path, month.trust())
    assert verdict.proven, verdict.difference
    assert any("the log's leaves are not inside" in text for text in lines(verdict, "9"))


def test_decisions_in_another_order_than_the_log_s_are_refused(month, bundle, tmp_path):
    def change(files):
        index = cbor.decode(files[decisions.INDEX])
        index[0], index[1] = index[1], index[0]
        files[decisions.INDEX] = cbor.encode(index)

    path = forged(month, bundle, tmp_path, change)
    verdict = verify_.verify(path)
    assert "in the log before it" in verdict.difference


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda files: files.pop(decisions.INDEX), "documents.cbor is missing"),
        (lambda files: files.update({decisions.INDEX: cbor.encode(1)}), "documents.cbor"),
        (lambda files: files.update({decisions.INDEX: cbor.encode([["x"]])}), "documents.cbor"),
        (
            lambda files: files.update({f"keys/{'0' * 64}.cose": b"x"}),
            "not listed in documents.cbor",
        ),
        (lambda files: files.pop(next(n for n in files if n[:5] == "keys/")), "but missing"),
        (lambda files: files.update({leaf_list.FILE: files[leaf_list.FILE][:-1]}), "cut off"),
        (lambda files: files.update({leaf_list.FILE: b"\0\1x"}), "1 leaves that do not give"),
    ],
)
def test_a_list_that_is_not_the_content_is_refused(month, bundle, tmp_path, change, told):
    path = forged(month, bundle, tmp_path, change, prove=False)
    assert told in verify_.verify(path).difference


JUNK = (
    b"", b"\0" * 40, b"\xff" * 40, cbor.encode(2**50), cbor.encode([2**50]), cbor.encode("text"),
    cbor.encode({}), cbor.encode({"gateway": 2**50, "agents": [], "persons": 1, "values": 1}),
    cbor.encode([["enrol", AGENT, 1, 0, bytes(32)]]), cbor.encode([[]]), b"{}", b"[1]",
    (60).to_bytes(2, "big") + cbor.encode("x" * 58),
)  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "documents.cbor", "keys.cbor", "month.cbor", "report.json", "log/leaves.bin",
        "log/inclusion.cbor", "log/checkpoint", "keys/", "approvals/", "configs/", "lab/",
        f"batches/{AGENT}.bin",
    ],
)  # fmt: skip
def test_junk_in_any_file_is_a_verdict_and_no_traceback(month, bundle, tmp_path, kind):
    for junk in JUNK:

        def change(files, junk=junk):
            files[next(name for name in sorted(files) if name.startswith(kind))] = junk

        path = forged(month, bundle, tmp_path, change, prove=False)
        for trust in (None, month.trust()):
            verdict = verify_.verify(path, trust)
            assert not verdict.proven, (kind, junk)
            assert verdict.difference


def test_a_log_with_too_many_leaves_leaves_them_out_and_the_verifier_says_so(month, monkeypatch):
    monkeypatch.setattr(leaf_list, "MOST_LEAVES", 10)
    path = month.make("small")
    assert leaf_list.FILE not in bundle_.read(path).files
    verdict = verify_.verify(path, month.trust())
    assert verdict.proven, verdict.difference
    assert any("the log's leaves are not inside" in text for text in lines(verdict, "9"))
    assert not any("leaves are not inside" in line for line in verify_.verify(path).lines)


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "seen"), [(30, True), (110, False)])
def test_a_lab_document_dated_back_behind_later_batches_is_seen(month, bundle, minutes, seen):
    # signed "at" the first seconds of the month, but in the log behind two hours of batches
    revoked_ns = T0 + minutes * 60 * 10**9
    persons = [
        replace(one, revoked_ns=revoked_ns) if one.name == "zhou" else one for one in month.people
    ]
    verdict = verify_.verify(bundle, month.trust(persons=persons))
    told = (
        "lab document october v1: the key of zhou was revoked, and the document stands in the log"
    )
    assert verdict.difference.startswith(told) is seen
    assert verdict.proven is not seen, verdict.difference


def test_batches_after_the_last_good_one_of_a_revoked_key_contradict(tmp_path):  # 30, 31
    month = EnrolledMonth(tmp_path)
    try:
        month.plant.revoke(SECOND_KEY, 15)
        month.state()
        verdict = verify_.verify(month.make(), month.trust())
        assert "is revoked after batch 15" in verdict.difference
        assert "[revoked]" in verdict.difference
    finally:
        month.close()


def enrolment_of(month, **changes):
    """The first enrolment with fields changed, signed by the operator again, as a decision."""
    (document, *_) = month.ledger.documents.all("enrol")
    fields = statements.unchecked(document.raw) | changes
    fields = {name: value for name, value in fields.items() if name != "v"}
    raw = statements.sign(MessageType.ENROLMENT, fields, month.plant.operator)
    return decisions.Paper("enrol", SITE, AGENT, 1, document.received_ns, raw)


LOW_ORDER = bytes.fromhex("302a300506032b6570032100") + bytes(32)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"spki": LOW_ORDER}, ""),  # row 34
        ({"spki": SECOND_KEY.public_spki()}, "not for one key"),
        ({"not_after": 2**62}, "another validity than its certificate"),
        ({"agent": "gw-02"}, "it is about al-001/gw-02"),
        ({"cert": b"x"}, "not a readable certificate"),
        ({"request": b"x"}, "not an enrolment request"),
    ],
)
def test_an_enrolment_that_even_an_operator_may_not_sign_is_refused(month, changes, told):
    genuine = enrolment_of(month)
    assert offline.fold([genuine], {}, SITE, month.trust()).counts["enrol"] == 1
    with pytest.raises(BundleError, match="keys/.*enrol/gw-01/1") as caught:
        offline.fold([enrolment_of(month, **changes)], {}, SITE, month.trust())
    assert told in str(caught.value)


def statement(kind, **fields):
    return statements.Statement(kind, None, {"agent": AGENT, "reason": "stolen", **fields})


def test_what_decisions_say_of_batches_must_be_true_of_those_that_are_there(month):
    rows = month.plant.rows()
    hashes = [row.sha256 for row in rows]
    (range_,) = [batch_range(SITE, AGENT, list(enumerate(hashes, 1)), [bytes(32)] * len(hashes))]
    keys = offline.Keys(KeyFold([], People([])))
    good = statement(MessageType.REVOCATION, last_good_seq=6, last_good_hash=hashes[5])
    keys.revocations = [good]
    offline.check_places([], keys, [range_])
    keys.revocations = [
        statement(MessageType.REVOCATION, last_good_seq=7, last_good_hash=hashes[5])
    ]
    with pytest.raises(BundleError, match="revocation of gw-01 after batch 7 names another batch"):
        offline.check_places([], keys, [range_])
    keys.revocations = []
    for first, is_inside in ((18, True), (19, False)):
        keys.relabels = [
            statement(MessageType.RELABEL, first_seq=first, last_seq=40, label="suspect")
        ]
        if is_inside:
            with pytest.raises(BundleError, match="batches 18-40 of gw-01 are suspect: stolen"):
                offline.check_places([], keys, [range_])
        else:
            offline.check_places([], keys, [range_])


def test_an_enrolment_whose_key_is_a_number_is_refused(month):
    plain = statements.unchecked(enrolment_of(month).raw) | {"spki": 2**50}
    raw = cose.sign(MessageType.ENROLMENT, cbor.encode(plain), month.plant.operator)
    paper = decisions.Paper("enrol", SITE, AGENT, 1, T0, raw)
    with pytest.raises(BundleError, match="it names no key"):
        offline.fold([paper], {}, SITE, month.trust())


# -- lab documents and their files ----------------------------------------------------------------

FILE = f"lab/attachments/{hashlib.sha256(CERTIFICATE).hexdigest()}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda files: files.update({FILE: CERTIFICATE + b"!"}), "its content has another digest"),
        (
            lambda files: files.update({f"lab/attachments/{'0' * 64}": b"x"}),
            "no lab document names it",
        ),
    ],
)
def test_an_attachment_swapped_under_the_same_name_is_named(
    month, bundle, tmp_path, change, told
):  # 99
    path = forged(month, bundle, tmp_path, change)
    assert told in verify_.verify(path).difference


def test_an_attachment_that_is_not_inside_is_a_reservation(month, bundle, tmp_path):
    path = forged(month, bundle, tmp_path, lambda files: files.pop(FILE))
    verdict = verify_.verify(path, month.trust())
    assert verdict.proven, verdict.difference
    assert any("1 files that lab documents name" in text for text in lines(verdict, "9"))


def test_an_attachment_changed_in_the_ledger_stops_the_report_and_the_audit(tmp_path):  # 99
    month = EnrolledMonth(tmp_path)
    try:
        db = month.ledger._db
        db.execute("DROP TRIGGER attachments_no_update")
        db.execute("UPDATE attachments SET content = ?", (b"another",))
        with pytest.raises(EvidenceGap, match="was changed in the ledger"):
            month.make()
        key = notes.note_key("carbon-log/test", LOG.public_spki())
        found = ledger_audit.check(month.ledger, key).findings
        assert len(found) == 1
        assert "its content has another digest" in found[0]
    finally:
        month.close()
