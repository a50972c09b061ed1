"""What a token of a real authority proves, and what it does not (trust.md row 77)."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from openssl_authority import DAY, OTHER_POLICY, POLICY, openssl

from gateway import timestamp
from gateway.timestamp import Authority, TimestampError

TEXT, NONCE = "carbon-log/test\n7\n…\n".encode(), bytes(range(0xF8, 0x100))


def known(authority, policy=POLICY):
    return [Authority("tsa", (authority.root,), policy)]


@pytest.fixture
def answered(authority):
    asked = timestamp.request(TEXT, NONCE, POLICY)
    return asked, authority.answer(asked)


def test_the_request_is_read_by_openssl_with_its_nonce_and_policy(tmp_path):
    (tmp_path / "a.tsq").write_bytes(timestamp.request(TEXT, NONCE, POLICY))
    said = openssl("ts", "-query", "-in", tmp_path / "a.tsq", "-text")
    for line in ("Hash Algorithm: sha256", f"Policy OID: {POLICY}", "Certificate required: yes"):
        assert line in said
    assert "Nonce: 0xF8F9FAFBFCFDFEFF" in said


@pytest.mark.parametrize("policy", ["", "2.999.1", "0.4.0.2023.1.1", "1.3.6.1.4.1.4294967296.0"])
def test_any_policy_is_encoded_as_openssl_reads_it(tmp_path, policy):
    (tmp_path / "a.tsq").write_bytes(timestamp.request(TEXT, bytes(8), policy))
    said = openssl("ts", "-query", "-in", tmp_path / "a.tsq", "-text")
    assert f"Policy OID: {policy or 'unspecified'}\n" in said
    assert "Nonce: 0x0\n" in said


@pytest.mark.parametrize("text", ["", "1", "3.1", "1.40", "1.2.x", "1.2." + "9" * 600])
def test_what_is_no_object_identifier_is_refused(text):
    with pytest.raises(ValueError, match="no object identifier"):
        timestamp.oid(text)


def test_a_token_proves_existence_before_its_time_and_stated_accuracy(authority, answered):
    asked, response = answered
    now = datetime.now(UTC)  # noqa: TID251
    token = timestamp.check(response, asked, TEXT, known(authority))
    assert (token.authority, token.policy) == ("tsa", POLICY)
    assert now - timedelta(minutes=5) < token.before < now + timedelta(minutes=5)
    stated = timestamp._decoded(response).tst_info
    assert token.before - stated.gen_time == timedelta(seconds=2)


def test_openssl_itself_accepts_what_we_keep(authority, answered, tmp_path):
    for name, content in (("q", answered[0]), ("r", answered[1]), ("text", TEXT)):
        (tmp_path / name).write_bytes(content)
    for how in (("-queryfile", tmp_path / "q"), ("-data", tmp_path / "text")):
        assert "OK" in openssl(
            "ts", "-verify", *how, "-in", tmp_path / "r", "-CAfile", authority.roots
        )


def test_a_token_for_another_digest_is_refused(authority, answered):
    with pytest.raises(TimestampError, match="another digest"):
        timestamp.check(answered[1], answered[0], TEXT + b"x", known(authority))


def test_a_token_of_an_expired_authority_is_refused(make_authority):
    expired = make_authority(ends=-DAY)
    asked = timestamp.request(TEXT, NONCE)
    with pytest.raises(TimestampError, match="not signed by a known authority.*expired"):
        timestamp.check(expired.answer(asked), asked, TEXT, known(expired))


def test_a_token_stays_good_after_its_authority_expired(make_authority):
    """Judged at the token's time: what was good then proves the same for ever."""
    asked = timestamp.request(TEXT, NONCE)
    for lives_s in (4, 12, 36):  # a busy machine may need longer than that to stamp
        ends = time.monotonic() + lives_s
        brief = make_authority(f"brief{lives_s}", ends=timedelta(seconds=lives_s))
        response = brief.answer(asked)
        if time.monotonic() < ends - 1:
            break
    time.sleep(max(0, ends + 1.5 - time.monotonic()))
    assert timestamp.check(response, asked, TEXT, known(brief)).authority == "tsa"


def test_a_token_under_another_policy_is_refused(authority):
    asked = timestamp.request(TEXT, NONCE, OTHER_POLICY)
    response = authority.answer(asked)
    with pytest.raises(TimestampError, match=f"policy is {OTHER_POLICY}, {POLICY} is right"):
        timestamp.check(response, asked, TEXT, known(authority))
    assert timestamp.check(response, asked, TEXT, known(authority, "")).policy == OTHER_POLICY


def test_a_token_of_another_root_of_the_same_name_is_refused(authority, make_authority):
    other = make_authority()
    asked = timestamp.request(TEXT, NONCE, POLICY)
    with pytest.raises(TimestampError, match="not signed by a known authority"):
        timestamp.check(other.answer(asked), asked, TEXT, known(authority))
    both = [*known(authority), Authority("second", (other.root,))]
    assert timestamp.check(other.answer(asked), asked, TEXT, both).authority == "second"


def test_an_old_response_does_not_answer_a_new_request(authority, answered):
    again = timestamp.request(TEXT, bytes(range(8)), POLICY)
    with pytest.raises(TimestampError, match="another request"):
        timestamp.check(answered[1], again, TEXT, known(authority))


def test_a_certificate_that_may_not_stamp_is_refused(authority, make_authority, answered):
    """A web server's certificate under the trusted root signs a token made of a genuine one."""
    folder, (asked, response) = authority.folder, answered
    (folder / "genuine.tsr").write_bytes(response)
    openssl("ts", "-reply", "-in", folder / "genuine.tsr", "-token_out", "-out", folder / "token")
    openssl(
        "cms", "-verify", "-noverify", "-inform", "DER", "-in", folder / "token",
        "-out", folder / "info",
    )  # fmt: skip

    def signed_by(files):
        openssl(
            "cms", "-sign", "-nodetach", "-binary", "-md", "sha256", "-outform", "DER",
            "-econtent_type", "1.2.840.113549.1.9.16.1.4", "-in", folder / "info",
            "-signer", f"{files}.pem", "-inkey", f"{files}.key", "-out", folder / "made",
        )  # fmt: skip
        content = b"\x30\x03\x02\x01\x00" + (folder / "made").read_bytes()
        return b"\x30\x82" + len(content).to_bytes(2, "big") + content

    genuine = signed_by(folder / "signer")
    assert timestamp.check(genuine, asked, TEXT, known(authority)).policy == POLICY
    authority.issue("web", ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(TimestampError, match="not signed by a known authority"):
        timestamp.check(signed_by(folder / "web"), asked, TEXT, known(authority))


def test_every_flipped_bit_of_a_response_is_refused_or_changes_nothing_proven(authority, answered):
    """Parts that the signature does not cover may change; what the token proves may not."""
    asked, response = answered
    proven = timestamp.check(response, asked, TEXT, known(authority))
    for place in range(len(response)):
        spoilt = bytearray(response)
        spoilt[place] ^= 1 << place % 8
        try:
            found = timestamp.check(bytes(spoilt), asked, TEXT, known(authority))
        except TimestampError:
            continue
        assert found == proven, place


def test_a_refusal_says_why_the_authority_refused(authority):
    asked = timestamp.request(TEXT, NONCE, "1.3.6.1.4.1.99999.77")
    with pytest.raises(TimestampError, match=r"refused \(status 2\).*policy"):
        timestamp.check(authority.answer(asked), asked, TEXT, known(authority))


@pytest.mark.parametrize(
    "junk", [b"", b"0", b"\x30\x00", b"\x30\x84\xff\xff\xff\xff", bytes(70_000)]
)
def test_junk_is_no_response(authority, junk):
    with pytest.raises(TimestampError):
        timestamp.check(junk, b"", TEXT, known(authority))
