"""A month's bundle with tokens of a real authority, and every way in which a token may be wrong."""

import json

import pytest
from openssl_authority import DAY, OTHER_POLICY, POLICY, openssl

from edge_agent.wire.keys import create_signer
from gateway import bundle as bundle_
from gateway import stamp_evidence, timestamp, trust_file
from gateway import verify as verify_
from gateway.checkpoints import Checkpointer
from gateway.cli import main
from gateway.ledger import Stamp
from gateway.stamps import Stamper
from gateway.timestamp import Authority
from gateway.timestamp_http import TimestampClient

ORIGIN, NAME = "carbon-log/test", "tsa"
T0 = 1_790_784_000 * 10**9


@pytest.fixture(scope="module")
def site(build_site, counter, rate, only_kiln1, enter_kiln1):
    """A month of one kiln."""

    readings = [
        *counter("k1.clinker.total", 15_500_000),
        *rate("k1.slag.rate", 12.0),
        *counter("k1.steel_slag.total", 3_500_000),
        *counter("k1.ash.total", 1_800_000),
        *counter("grid.energy", 12_000_000),
    ]
    made = build_site("cement", readings, only_kiln1)
    enter_kiln1(made)
    return made


@pytest.fixture(scope="module")
def sizes(site):
    """Checkpoints over a third, over all, and over all as an administrator states it later."""
    signer = create_signer(site.folder / "keys/log.pem")
    maker = Checkpointer(site.ledger, signer, ORIGIN, 3_600)
    size = site.ledger.tree.size()
    made = [maker._make(count, T0 + count, {}) for count in (size // 3, size)]
    site.log_key = maker.key
    return [one.size for one in made]


@pytest.fixture(scope="module")
def stamped(site, sizes, authority):
    """The month, made once with both checkpoints stamped."""
    known = Authority(NAME, (authority.root,), POLICY)
    with authority.serving() as url:
        stamper = Stamper(site.ledger, [TimestampClient(known, url, 30)])
        for size in sizes:
            got, _ = stamper.fetch(stamper.clients[0], site.ledger.tree.checkpoint(size))
            stamper.keep(got)
    return site.make("stamped").files[2]


@pytest.fixture
def trust(site, sizes, authority, tmp_path):
    """Writes a trust file; ``roots=None`` names no authority."""

    def write(roots=authority.roots, policy=POLICY, name=NAME):
        kids = [one.kid.hex() for one in (site.gateway, site.person, site.agent)]
        text = f"trusted = {json.dumps(kids)}\n"
        text += f'[log]\norigin = "{ORIGIN}"\nkey = "{site.log_key.public.hex()}"\n'
        if roots is not None:
            text += f'[[timestamp]]\nname = "{name}"\npolicy = "{policy}"\n'
            text += f"roots = '''\n{roots.read_text()}'''\n"
        path = tmp_path / "trust.toml"
        path.write_text(text)
        return path

    return write


def files_of(path):
    files = dict(bundle_.read(path).files)
    del files[bundle_.MANIFEST]
    return files


@pytest.fixture
def rewritten(site, stamped, tmp_path):
    """The bundle with changed files, signed anew by the gateway."""

    def write(change):
        files = files_of(stamped)
        change(files)
        path = tmp_path / "changed.bundle"
        bundle_.write(path, files, site.gateway)
        return path

    return write


def lines(verdict, start):
    return [line for line in verdict.lines if line.startswith(start)]


def test_the_month_is_dated_by_the_tokens_and_the_log_leads_from_each_to_its_end(
    stamped, sizes, trust
):
    verdict = verify_.verify(stamped, trust_file.load(trust()))
    assert verdict.proven, verdict.difference
    (line,) = lines(verdict, "5 timestamps")
    assert line.startswith(f"5 timestamps    2 of {NAME}; the log's first {sizes[0]} leaves")
    assert ", everything here before 20" in line
    assert not [text for text in verdict.lines if "time-stamp" in text]


def test_stock_openssl_checks_the_files_of_the_bundle(stamped, sizes, authority, tmp_path):
    files = files_of(stamped)
    for size in sizes:
        for end in ("checkpoint", f"{NAME}.tsq", f"{NAME}.tsr"):
            (tmp_path / end).write_bytes(files[f"log/stamped/{size}.{end}"])
        said = openssl(
            "ts", "-verify", "-data", tmp_path / "checkpoint", "-in", tmp_path / f"{NAME}.tsr",
            "-CAfile", authority.roots,
        )  # fmt: skip
        assert "OK" in said


def test_without_a_trust_file_tokens_are_counted_only(stamped):
    (line,) = lines(verify_.verify(stamped), "5 timestamps")
    assert "2 of authorities that the trust file does not name, unchecked" in line


def replies(size, response=None, asked=None):
    """Puts another response (and request) beside a checkpoint."""

    def change(files):
        place = f"log/stamped/{size}.{NAME}"
        files[f"{place}.tsr"] = response
        if asked is not None:
            files[f"{place}.tsq"] = asked

    return change


def refused(path, trust, capsys):
    """What the command says of a bundle that it finds contradicted."""
    assert main(["verify", str(path), "--trust", str(trust)]) == 1
    return capsys.readouterr().out


def test_a_token_for_another_digest_is_named(authority, sizes, rewritten, trust, capsys):
    asked = timestamp.request(b"another text", bytes(8), POLICY)
    path = rewritten(replies(sizes[1], authority.answer(asked), asked))
    said = refused(path, trust(), capsys)
    assert f"DIFFERENCE: log/stamped/{sizes[1]}.{NAME}.tsr: the token is for another digest" in said


def test_the_token_of_another_checkpoint_is_named(stamped, sizes, rewritten, trust, capsys):
    inside = files_of(stamped)[f"log/stamped/{sizes[0]}.{NAME}.tsr"]
    said = refused(rewritten(replies(sizes[1], inside)), trust(), capsys)
    assert f"log/stamped/{sizes[1]}.{NAME}.tsr: the token is for another digest" in said


def test_a_token_of_an_expired_authority_is_named(
    stamped, sizes, make_authority, rewritten, trust, capsys, authority
):
    expired = make_authority(ends=-DAY, root="Old root")
    both = expired.folder / "both.pem"
    both.write_bytes(authority.roots.read_bytes() + expired.roots.read_bytes())
    text = files_of(stamped)[f"log/stamped/{sizes[1]}.checkpoint"]
    asked = timestamp.request(text, bytes(8), POLICY)
    path = rewritten(replies(sizes[1], expired.answer(asked), asked))
    said = refused(path, trust(both), capsys)
    assert f"log/stamped/{sizes[1]}.{NAME}.tsr: not signed by a known authority" in said
    assert "certificate has expired" in said


def test_a_token_under_another_policy_is_named(stamped, sizes, authority, rewritten, trust, capsys):
    text = files_of(stamped)[f"log/stamped/{sizes[1]}.checkpoint"]
    asked = timestamp.request(text, bytes(8), OTHER_POLICY)
    path = rewritten(replies(sizes[1], authority.answer(asked), asked))
    said = refused(path, trust(), capsys)
    assert f"log/stamped/{sizes[1]}.{NAME}.tsr: the token's policy is {OTHER_POLICY}" in said


def test_tokens_of_another_root_are_named(stamped, sizes, make_authority, trust, capsys):
    said = refused(stamped, trust(make_authority().roots), capsys)
    assert f"log/stamped/{sizes[0]}.{NAME}.tsr: not signed by a known authority" in said


def test_a_token_that_answers_another_request_is_named(sizes, stamped, rewritten, trust, capsys):
    text = files_of(stamped)[f"log/stamped/{sizes[1]}.checkpoint"]

    def change(files):
        files[f"log/stamped/{sizes[1]}.{NAME}.tsq"] = timestamp.request(text, bytes(8), POLICY)

    said = refused(rewritten(change), trust(), capsys)
    assert f"log/stamped/{sizes[1]}.{NAME}.tsr: the token answers another request" in said


def test_a_stamped_checkpoint_that_the_log_does_not_hold_is_named(
    site, sizes, authority, rewritten, trust, capsys
):
    """A gateway that signs another history and has it stamped cannot lead from it to the end."""

    def change(files):
        from edge_agent.wire import notes
        from edge_agent.wire.keys import load_signer

        head = notes.Head(ORIGIN, sizes[0], bytes(32))
        text = notes.sign_checkpoint(head, load_signer(site.folder / "keys/log.pem")).encode()
        asked = timestamp.request(text, bytes(8), POLICY)
        files[f"log/stamped/{sizes[0]}.checkpoint"] = text
        replies(sizes[0], authority.answer(asked), asked)(files)

    said = refused(rewritten(change), trust(), capsys)
    assert f"log/stamped/{sizes[0]}.checkpoint: not a state of the log" in said


@pytest.mark.parametrize("missing", [stamp_evidence.PROOFS, "{}.checkpoint", "{}.tsa.tsq"])
def test_a_missing_file_beside_a_token_is_named(sizes, rewritten, trust, capsys, missing):
    name = missing if missing.startswith("log/") else "log/stamped/" + missing.format(sizes[0])
    said = refused(rewritten(lambda files: files.pop(name)), trust(), capsys)
    assert (name if name != stamp_evidence.PROOFS else f"{sizes[0]}.checkpoint") in said


def without_tokens(files):
    for name in [name for name in files if name.startswith("log/stamped")]:
        del files[name]


def test_no_tokens_where_roots_are_named_are_a_reservation(rewritten, trust, capsys):
    path = rewritten(without_tokens)
    assert main(["verify", str(path), "--trust", str(trust())]) == 3
    said = capsys.readouterr().out
    assert "9 reservation   no time-stamp token covers all of this month" in said
    assert main(["verify", str(path), "--trust", str(trust(None))]) == 3
    assert "time-stamp" not in capsys.readouterr().out


def test_a_token_of_the_first_days_only_is_a_reservation(sizes, rewritten, trust):
    def change(files):
        for name in [name for name in files if name.startswith(f"log/stamped/{sizes[1]}.")]:
            del files[name]

    verdict = verify_.verify(rewritten(change), trust_file.load(trust()))
    assert verdict.proven
    assert lines(verdict, "9 reservation   no time-stamp token covers all")
    assert f"first {sizes[0]} leaves" in lines(verdict, "5 timestamps")[0]


def test_an_authority_under_another_name_is_not_taken_for_a_known_one(stamped, trust):
    verdict = verify_.verify(stamped, trust_file.load(trust(name="somebody-else")))
    assert lines(verdict, "9 reservation   no time-stamp token covers all")
    assert "2 of authorities that" in lines(verdict, "5 timestamps")[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace(POLICY, "1.2.joy"), "timestamp.0.policy: .*1.2.joy"),
        (lambda text: text.replace("BEGIN", "BEGUN"), "timestamp tsa: roots: .*PEM"),
        (lambda text: text + text[text.index("[[timestamp]]") :], "timestamp: two authorities"),
    ],
)
def test_a_wrong_trust_file_is_named(trust, change, named):
    path = trust()
    path.write_text(change(path.read_text()))
    with pytest.raises(bundle_.BundleError, match=f"trust.toml: {named}"):
        trust_file.load(path)


def test_the_report_prefers_a_stamped_checkpoint_and_leaves_later_tokens_out(
    site, sizes, stamped, authority
):
    """A checkpoint that nobody stamped yet does not push the stamped one out."""
    assert files_of(site.make("later").files[2])["log/checkpoint"].startswith(ORIGIN.encode())
    head = files_of(stamped)["log/checkpoint"].split(b"\n")[1]
    assert int(head) == sizes[1]
    before = files_of(stamped)
    tree = site.ledger.tree
    assert not tree.stamps(sizes[1] + 1)
    tree.add_stamp(Stamp(sizes[1], NAME, 9, b"x", b"y"))
    assert files_of(site.make("again").files[2]) == before, "the first token of a checkpoint stays"
