"""A time-stamping authority: ``openssl ts`` behind a small HTTP server, with a CA made here."""

import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

POLICY, OTHER_POLICY = "1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"
DAY = timedelta(days=1)
CONFIGURATION = """
[tsa]
default_tsa = service
[service]
serial = {folder}/serial
signer_digest = {digest}
default_policy = {policy}
other_policies = {other}
digests = sha256, sha512
accuracy = secs:2
ess_cert_id_alg = sha256
"""


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certify(subject, key, issuer, issuer_key, valid, extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


class Authority:
    """Answers requests as ``openssl ts`` does; ``spoil`` may change what goes out."""

    REPLY = "application/timestamp-reply"

    def __init__(self, folder, *, ends=DAY, root="Time root", policy=POLICY, digest="sha256"):
        folder.mkdir(parents=True)
        self.folder, self.requests, self._root = folder, [], root
        self.gate, self._one = threading.Event(), threading.Lock()
        self.spoil, self.kind = (lambda response: response), self.REPLY
        now = datetime.now(UTC)  # noqa: TID251  openssl stamps with the machine's time
        self._key = root_key = ec.generate_private_key(ec.SECP256R1())
        ca = [(x509.BasicConstraints(ca=True, path_length=0), True)]
        long = (now - 900 * DAY, now + 900 * DAY)
        self.root = certify(name(root), root_key, name(root), root_key, long, ca)
        self._valid = (now - 30 * DAY, now + ends)
        self.issue("signer", ExtendedKeyUsageOID.TIME_STAMPING)
        self.roots = folder / "roots.pem"
        self.roots.write_bytes(self.root.public_bytes(Encoding.PEM))
        (folder / "serial").write_text("01\n")
        other = OTHER_POLICY if policy == POLICY else POLICY
        text = CONFIGURATION.format(folder=folder, policy=policy, other=other, digest=digest)
        (folder / "tsa.cnf").write_text(text)

    def issue(self, file, usage):
        """Certificate and key under the root, for a purpose."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = [(x509.ExtendedKeyUsage([usage]), True)]
        made = certify(
            name(f"Clock {file}"), key, name(self._root), self._key, self._valid, extensions
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / f"{file}.pem").write_bytes(made.public_bytes(Encoding.PEM))
        (self.folder / f"{file}.key").write_bytes(private)

    def answer(self, request):
        """The response to a request."""
        with self._one:
            (self.folder / "request.tsq").write_bytes(request)
            openssl(
                "ts", "-reply", "-config", self.folder / "tsa.cnf", "-queryfile",
                self.folder / "request.tsq", "-signer", self.folder / "signer.pem", "-inkey",
                self.folder / "signer.key", "-out", self.folder / "response.tsr",
            )  # fmt: skip
            return self.spoil((self.folder / "response.tsr").read_bytes())

    @contextmanager
    def serving(self, port=0):
        """Over HTTP; gives the address."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked = self.rfile.read(int(self.headers["Content-Length"]))
                authority.requests.append((self.headers["Content-Type"], asked))
                if self.path == "/slow":
                    authority.gate.wait(60)
                body = authority.answer(asked)
                self.send_response(200)
                self.send_header("Content-Type", authority.kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/tsa"
            finally:
                server.shutdown()
                thread.join()


def openssl(*words):
    """Run openssl; gives what it prints."""
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
