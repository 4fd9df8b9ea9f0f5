# SPDX-License-Identifier: BSD-2-Clause
"""TLS for tests: certificates made on the spot with openssl, and a client that says STARTTLS."""
import os
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from peers import Client
from world import ADDRESS

KEY_OPTIONS = {"EC": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "RSA": ["-newkey", "rsa:2048"]}


@dataclass
class Certificate:
    """A certificate signed by itself, and its key."""
    path: Path
    key: Path

    @property
    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.path.read_text())


def openssl(*args, input=None, timeout=60):
    return subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, input=input, timeout=timeout)


def make_certificate(folder, name, names=("relay.example",), kind="EC", days=365, owner=None, mode=0o600):
    """FOLDER/NAME.pem and .key; written beside and moved, so that nobody reads half of one. days=0: it has ended."""
    made = Certificate(Path(folder) / f"{name}.pem", Path(folder) / f"{name}.key")
    fresh = Certificate(made.path.with_suffix(".pem.new"), made.key.with_suffix(".key.new"))
    done = openssl("req", "-x509", *KEY_OPTIONS[kind], "-nodes", "-days", days or 1, "-subj", f"/CN={names[0]}",
                   "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names),
                   "-keyout", fresh.key, "-out", fresh.path)
    assert done.returncode == 0, done.stderr
    if days == 0:
        done = openssl("x509", "-in", fresh.path, "-signkey", fresh.key, "-days", 0, "-out", fresh.path)
        assert done.returncode == 0, done.stderr
    fresh.key.chmod(mode)
    if owner:
        os.chown(fresh.key, owner.pw_uid, owner.pw_gid)
    fresh.key.rename(made.key)
    fresh.path.rename(made.path)
    return made


def client_context(version=None, ciphers=None):
    """A context that trusts anybody; `version` is the only one it speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        # Debian's settings stop at 1.2; what we test is that the relay does.
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context


class TlsClient(Client):
    """A client that has gone over to TLS. `session`: of an earlier one, to be resumed; `behind`: what it sends behind STARTTLS,
    in the same packet, in plain text."""

    def __init__(self, port, context=None, name=None, session=None, behind="", address=ADDRESS, timeout=60, source=None):
        super().__init__(port, address, timeout, source)
        self.ehlo()
        self.write("STARTTLS\r\n" + behind)
        reply = self.reply()
        assert reply.code == 220, reply
        self.file.close()
        self.socket = (context or client_context()).wrap_socket(self.socket, server_hostname=name, session=session)
        self.file = self.socket.makefile("rb")

    @property
    def certificate(self):
        """What the server has shown, in DER; not when the session is resumed."""
        return self.socket.getpeercert(True)

    @property
    def version(self):
        return self.socket.version()

    @property
    def cipher(self):
        return self.socket.cipher()[0]
