"""TLS of the pooler, towards clients and towards servers, against a PostgreSQL and certificates of this file's own."""
import contextlib
import hashlib
import os
import pathlib
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import psycopg
import pytest

from harness.cluster import fresh_folder
from harness.pooler import BIN, Pooler, Postgres, give, open_folder
from harness.processes import memory_kib
from harness.waiting import wait_until
from harness.wire import SSL_REQUEST, query, startup

RULES = """
local     all all        trust
hostssl   all needs_tls  all trust
hostnossl all needs_none all trust
hostssl   all by_cert    all cert
host      all needs_tls,needs_none,by_cert all reject
host      all by_scram   all scram-sha-256
host      all all        all trust
"""


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)


class Certificates:
    def __init__(self):
        self.folder = fresh_folder()
        os.chmod(self.folder, 0o755)
        for name in ("ca", "stranger"):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-keyout", self.key(name), "-out", self.cert(name))
        self.make("server", "localhost", names="DNS:localhost,IP:127.0.0.1")
        self.make("server384", "localhost", names="DNS:localhost,IP:127.0.0.1", digest="sha384")
        self.make("elsewhere", "elsewhere", names="DNS:elsewhere.example")
        for user in ("app", "by_cert", "outsider"):
            self.make(user, user)
        self.make("forged", "app", ca="stranger")

    def key(self, name):
        return f"{self.folder}/{name}.key"

    def cert(self, name):
        return f"{self.folder}/{name}.crt"

    def make(self, name, common_name, ca="ca", names=None, digest="sha256"):
        request = f"{self.folder}/{name}.csr"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={common_name}", "-keyout", self.key(name),
                "-out", request)
        extra = []
        if names:
            extra = ["-extfile", f"{self.folder}/{name}.ext"]
            pathlib.Path(extra[1]).write_text(f"subjectAltName={names}\n")
        openssl("x509", "-req", "-in", request, "-CA", self.cert(ca), "-CAkey", self.key(ca), "-CAcreateserial", "-days", "2", f"-{digest}",
                "-out", self.cert(name), *extra)
        self.hand_over(name)

    def hand_over(self, name):
        """The pooler gives up root, and reads them again at a reload."""
        for path in (self.key(name), self.cert(name)):
            give(path)
        os.chmod(self.key(name), 0o600)

    def of_client(self, name):
        return {"sslcert": self.cert(name), "sslkey": self.key(name)}


@pytest.fixture(scope="module")
def certificates():
    made = Certificates()
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)


class Encrypted(Postgres):
    def __init__(self, folder, certificates):
        super().__init__(folder, "ssl_ca_file=root.crt")
        pathlib.Path(f"{self.data}/pg_hba.conf").write_text(RULES)
        for name, source in (("server.key", certificates.key("server")), ("server.crt", certificates.cert("server")),
                             ("root.crt", certificates.cert("ca"))):
            shutil.copy(source, f"{self.data}/{name}")
            give(f"{self.data}/{name}")
            os.chmod(f"{self.data}/{name}", 0o600)

    def tls(self, on):
        self.sql(f"alter system set ssl = {'on' if on else 'off'}")
        self.sql("select pg_reload_conf()")

        def so():
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(SSL_REQUEST)
                return connection.recv(1) == (b"S" if on else b"N")

        wait_until("ssl", 10, so)


@pytest.fixture(scope="module")
def postgres(certificates):
    with open_folder() as folder:
        made = Encrypted(folder, certificates)
        try:
            made.start().tls(True)
            for role in ("app", "needs_tls", "needs_none", "by_cert", "outsider"):
                made.sql(f"create role {role} login superuser")
            made.sql("create role by_scram login superuser password 'secret'")
            yield made
        finally:
            made.stop()


class TlsPooler(Pooler):
    """`target`: where its one database leads."""

    def __init__(self, folder, postgres, certificates):
        self.certificates, self.target = certificates, {"host": "localhost", "port": postgres.port}
        users = ("postgres", "app", "needs_tls", "needs_none", "by_cert", "by_scram", "outsider")
        login = {"user": "app", "gssencmode": "disable", "sslrootcert": certificates.cert("ca")}
        super().__init__(folder, {}, "".join(f'"{user}" "secret"\n' for user in users), login=login, unix_socket_dir=folder, pool_mode="transaction",
                         server_login_retry=1)

    def serve_tls(self, mode="require", certificate="server", ca=None, **more):
        self.settings |= {"client_tls_sslmode": mode, "client_tls_key_file": self.certificates.key(certificate),
                          "client_tls_cert_file": self.certificates.cert(certificate)}
        if ca:
            self.settings["client_tls_ca_file"] = self.certificates.cert(ca)
        self.settings |= more
        return self

    def write(self, **changes):
        self.databases = {"postgres": " ".join(f"{key}={value}" for key, value in self.target.items())}
        super().write(**changes)

    def start(self, **changes):
        self.write(**changes)
        return super().start()

    def refusal(self, **settings):
        self.write(**settings)
        done = self.run(self.file)
        assert done.returncode == 1
        return done.stdout + done.stderr

    def server_version(self, **options):
        """Of TLS between pooler and PostgreSQL; None: it is plain."""
        return self.value("select version from pg_stat_ssl where pid = pg_backend_pid()", **options)

    def error(self, **options):
        with pytest.raises(psycopg.OperationalError) as caught:
            self.server_version(**options)
        return str(caught.value)

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)


@pytest.fixture
def pooler(postgres, certificates):
    with open_folder() as folder:
        made = TlsPooler(folder, postgres, certificates)
        yield made
        made.stop()


# --- clients -------------------------------------------------------------------------------------------------------------

CLIENT_MODES = [  # the pooler's mode, the client's, its certificate, encrypted? or what it is told
    ("disable", "prefer", None, False),
    ("disable", "require", None, "server does not support SSL"),
    ("allow", "disable", None, False),
    ("allow", "prefer", None, True),
    ("allow", "require", "app", True),
    ("allow", "require", "forged", "alert unknown ca"),
    ("prefer", "disable", None, False),
    ("prefer", "verify-full", None, True),
    ("require", "disable", None, "SSL required"),
    ("require", "require", None, True),
    ("require", "verify-full", None, True),
    ("verify-ca", "disable", None, "SSL required"),
    ("verify-ca", "require", None, "certificate required"),
    ("verify-ca", "verify-full", "outsider", True),
    ("verify-full", "require", None, "certificate required"),
    ("verify-full", "require", "forged", "alert unknown ca"),
    ("verify-full", "require", "app", True),
]


@pytest.mark.parametrize("mode", list(dict.fromkeys(row[0] for row in CLIENT_MODES)))
def test_sslmode_of_clients(pooler, certificates, mode):
    pooler.serve_tls(mode, ca="ca").start()
    for _, client, certificate, expected in (row for row in CLIENT_MODES if row[0] == mode):
        options = {"host": "localhost", "sslmode": client, **(certificates.of_client(certificate) if certificate else {"sslcert": "/none"})}
        if isinstance(expected, str):
            assert expected in pooler.error(**options), (mode, client, certificate)
        else:
            with pooler.connect(**options) as connection:
                assert bool(connection.pgconn.ssl_in_use) is expected, (mode, client, certificate)
                assert connection.execute("select 1").fetchone() == (1,)


def test_a_unix_socket_is_never_encrypted_and_always_allowed(pooler):
    pooler.serve_tls("require").start()
    assert pooler.server_version(host=pooler.folder) == "TLSv1.3"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{pooler.folder}/.s.PGSQL.{pooler.port}")
        connection.sendall(SSL_REQUEST)
        assert connection.recv(10) == b"N"


def test_protocols_and_ciphers(pooler):
    pooler.serve_tls(client_tls_protocols="tlsv1.2", client_tls_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", client_tls_ecdhcurve="secp384r1").start()
    context = plain_context()
    with begun(pooler, context) as connection:
        assert connection.version() == "TLSv1.2"
        assert connection.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert pooler.server_version(sslmode="require") == "TLSv1.3"  # the pooler's own towards PostgreSQL
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises((ssl.SSLError, OSError)):
        begun(pooler, context).close()
    pooler.wait_logged("TLS handshake failed")


def test_nobody_negotiates_twice(pooler):
    pooler.serve_tls(client_tls_protocols="tlsv1.2").start()
    done = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{pooler.port}", "-alpn", "postgresql"], input="R\n",
                          capture_output=True, text=True, timeout=30)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stdout + done.stderr


def test_auth_type_cert_takes_the_common_name(pooler, certificates):
    pooler.serve_tls("verify-full", ca="ca", auth_type="cert").start()
    assert pooler.server_version(user="app", sslmode="require", **certificates.of_client("app")) == "TLSv1.3"
    assert "TLS certificate name mismatch" in pooler.error(user="postgres", sslmode="require", **certificates.of_client("app"))
    assert "TLS connection required" in pooler.error(host=pooler.folder)


def test_rules_know_who_is_encrypted_and_map_certificates(pooler, certificates):
    rules, maps = f"{pooler.folder}/hba", f"{pooler.folder}/ident"
    pathlib.Path(rules).write_text("hostssl all app all trust\nhostnossl all postgres all trust\nhostssl all by_cert all cert map=m\n")
    pathlib.Path(maps).write_text("m outsider by_cert\n")
    pooler.serve_tls("allow", ca="ca", auth_type="hba", auth_hba_file=rules, auth_ident_file=maps).start(server_tls_sslmode="disable")
    assert pooler.server_version(user="app", sslmode="require") is None
    assert "no authentication method" in pooler.error(user="app", sslmode="disable")
    assert pooler.server_version(user="postgres", sslmode="disable") is None
    assert "no authentication method" in pooler.error(user="postgres", sslmode="require")
    # PostgreSQL does not let by_cert in without a certificate: it is the pooler's yes or no that counts here.
    assert "connection authorized" not in pooler.error(user="by_cert", sslmode="require", **certificates.of_client("app"))
    assert "name mismatch" in pooler.error(user="by_cert", sslmode="require", **certificates.of_client("app"))
    assert "certificate required" in pooler.error(user="by_cert", sslmode="require", sslcert="/none")
    assert "pg_hba.conf" in pooler.error(user="by_cert", sslmode="require", **certificates.of_client("outsider"))


@pytest.mark.parametrize("certificate", ["server", "server384"])
def test_channel_binding_with_clients(pooler, certificate):
    pooler.serve_tls("require", certificate=certificate, auth_type="scram-sha-256").start()
    options = {"user": "by_scram", "password": "secret", "sslmode": "require", "channel_binding": "require"}
    assert pooler.server_version(**options) == "TLSv1.3"
    assert "password authentication failed" in pooler.error(**options | {"password": "wrong"})


# --- the first bytes ------------------------------------------------------------------------------------------------------

def plain_context(alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def begun(pooler, context):
    """After SSLRequest and the handshake."""
    connection = pooler.raw()
    connection.sendall(SSL_REQUEST)
    assert connection.recv(1) == b"S"
    return context.wrap_socket(connection)


def read_until_ready(connection):
    received = b""
    while b"Z\0\0\0\5" not in received or len(received) < received.rindex(b"Z\0\0\0\5") + 6:
        more = connection.recv(65536)
        assert more, received
        received += more
    return received


@pytest.mark.parametrize("pieces", [None, 1, 50], ids=["whole", "bytes", "pieces"])
def test_tls_at_once(pooler, pieces):
    pooler.serve_tls("require").start()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = plain_context(["postgresql"]).wrap_bio(incoming, outgoing)
    with pooler.raw() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def leave():
            data = outgoing.read()
            size = pieces or len(data) or 1
            for at in range(0, len(data), size):
                connection.sendall(data[at:at + size])
                if pieces:
                    time.sleep(0.002)

        def step(call):
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    leave()
                    data = connection.recv(65536)
                    assert data
                    incoming.write(data)

        step(tls.do_handshake)
        tls.write(startup("app"))
        leave()  # the last of the handshake and the first packet, together
        received = b""
        while b"Z\0\0\0\5I" not in received:
            received += step(lambda: tls.read(65536))
        assert received.startswith(b"R\0\0\0\x08\0\0\0\0")
        assert tls.selected_alpn_protocol() == "postgresql"


def test_tls_at_once_needs_the_right_protocol(pooler):
    pooler.serve_tls("require").start()
    with pytest.raises((ssl.SSLError, OSError)):
        plain_context(["http/1.1"]).wrap_socket(pooler.raw())
    with plain_context().wrap_socket(pooler.raw()) as connection:  # TLS 1.3: the client is done before it is refused
        with contextlib.suppress(OSError):
            connection.sendall(startup("app"))
            assert connection.recv(100) == b""
    pooler.wait_logged("ALPN")


def test_s_client(pooler):
    pooler.serve_tls("require").start()
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{pooler.port}", "-alpn", "postgresql", "-CAfile", pooler.certificates.cert("ca"),
                           "-verify_hostname", "localhost"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert "ALPN protocol: postgresql" in done.stdout
    assert "Verify return code: 0 (ok)" in done.stdout


def test_tls_at_once_where_there_is_none(pooler):
    pooler.start()
    with pytest.raises((ssl.SSLError, OSError)):
        plain_context(["postgresql"]).wrap_socket(pooler.raw())


def test_plain_bytes_behind_the_request_are_refused(pooler):
    pooler.serve_tls("allow").start()
    with pooler.raw() as connection:
        connection.sendall(SSL_REQUEST + startup("app"))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(1000):
                answer += more
    assert not answer.startswith(b"S") and b"unencrypted data" in answer
    with begun(pooler, plain_context()) as connection:  # a second request, inside
        connection.sendall(SSL_REQUEST)
        assert b"unexpected request for encryption" in connection.recv(1000)


def test_those_who_stall_hurt_nobody(pooler):
    pooler.serve_tls("allow").start(client_login_timeout=4)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
    with contextlib.ExitStack() as stack:
        stalled = []
        for number in range(150):
            connection = stack.enter_context(pooler.raw())
            connection.sendall(SSL_REQUEST if number % 2 else hello)
            stalled.append(connection)
        began = time.monotonic()
        assert pooler.server_version(sslmode="require") == "TLSv1.3"
        assert time.monotonic() - began < 3
        for connection in stalled:  # client_login_timeout
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(100):
                    pass
        assert time.monotonic() - began < 12


def test_a_storm_of_handshakes_lets_others_through(pooler, certificates):
    openssl("req", "-x509", "-newkey", "rsa:4096", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", certificates.key("rsa"), "-out",
            certificates.cert("rsa"))
    certificates.hand_over("rsa")
    pooler.serve_tls("allow", certificate="rsa").start()
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        plain_context(["postgresql"]).wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    hello = outgoing.read()
    with contextlib.ExitStack() as stack:
        steady = stack.enter_context(pooler.connect(sslmode="disable"))
        steady.execute("select 1")
        storm = [stack.enter_context(pooler.raw()) for _ in range(200)]
        for connection in storm:
            connection.sendall(hello)
        answers, waiting = 0, set(storm)
        while waiting:
            steady.execute("select 1")
            answers += 1
            waiting -= set(select.select(waiting, [], [], 0)[0])
    assert answers > 30, "a signature takes milliseconds, and they are to come between transactions, not all before one"


def test_garbage_in_the_handshake_and_later(pooler):
    pooler.serve_tls("allow").start()
    with pooler.raw() as connection:
        connection.sendall(SSL_REQUEST)
        assert connection.recv(1) == b"S"
        connection.sendall(os.urandom(3000))
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(100):
                pass
    tls = begun(pooler, plain_context())
    tls.sendall(startup("app"))
    read_until_ready(tls)
    with socket.socket(fileno=os.dup(tls.fileno())) as plain:
        plain.settimeout(10)
        plain.sendall(os.urandom(3000))
        with contextlib.suppress(ConnectionResetError):
            while plain.recv(1000):
                pass
    tls.close()
    assert pooler.server_version(sslmode="require") == "TLSv1.3"


# --- servers ----------------------------------------------------------------------------------------------------------------

def test_sslmode_of_servers(pooler, postgres):
    pooler.settings["server_tls_ca_file"] = pooler.certificates.cert("ca")
    for mode in ("allow", "prefer", "require", "verify-ca", "verify-full"):
        pooler.start(server_tls_sslmode=mode)
        assert pooler.server_version(user="needs_tls") == "TLSv1.3", mode
        pooler.stop()
    pooler.start(server_tls_sslmode="disable")
    assert pooler.server_version(user="needs_none") is None
    assert "pg_hba.conf" in pooler.error(user="needs_tls")


def test_servers_without_tls(pooler, postgres):
    postgres.tls(False)
    try:
        for mode, fine in (("prefer", True), ("require", False)):
            pooler.start(server_tls_sslmode=mode)
            if fine:
                assert pooler.server_version() is None
            else:
                pooler.error(connect_timeout=20)
                assert "server does not do TLS" in pooler.logged()
            pooler.stop()
            pooler.settings["query_wait_timeout"] = 3
    finally:
        postgres.tls(True)


@pytest.mark.parametrize("mode, ca, host, expected", [
    ("require", "stranger", "localhost", True),
    ("verify-ca", "stranger", "localhost", "self-signed|unable to get local issuer"),
    ("verify-ca", "ca", "ip6-or-other", True),
    ("verify-full", "ca", "127.0.0.1", True),
    ("verify-full", "stranger", "localhost", "self-signed|unable to get local issuer"),
])
def test_which_servers_are_believed(pooler, mode, ca, host, expected):
    pooler.target["host"] = "127.0.0.1" if host == "ip6-or-other" else host
    pooler.start(server_tls_sslmode=mode, server_tls_ca_file=pooler.certificates.cert(ca), query_wait_timeout=3)
    if expected is True:
        assert pooler.server_version() == "TLSv1.3"
    else:
        pooler.error(connect_timeout=20)
        assert any(text in pooler.logged() for text in expected.split("|")), pooler.logged()


def test_a_certificate_for_another_host(pooler, certificates, postgres):
    with Middle(postgres.port, certificates, "elsewhere") as middle:
        pooler.target = {"host": "localhost", "port": middle.port}
        pooler.start(server_tls_sslmode="verify-full", server_tls_ca_file=certificates.cert("ca"), query_wait_timeout=3)
        pooler.error(connect_timeout=20)
        assert 'not for host "localhost"' in pooler.logged()
        pooler.stop()
        pooler.start(server_tls_sslmode="verify-ca")
        assert pooler.server_version() is not None


def test_our_own_certificate_for_servers(pooler, certificates):
    pooler.start(server_tls_sslmode="require", server_tls_cert_file=certificates.cert("by_cert"), server_tls_key_file=certificates.key("by_cert"))
    assert pooler.server_version(user="by_cert") == "TLSv1.3"
    assert "pg_hba.conf" in pooler.error(user="needs_none")


def test_scram_with_channel_binding_finds_somebody_in_between(pooler, certificates, postgres):
    pooler.start(server_tls_sslmode="require", query_wait_timeout=3)
    assert pooler.server_version(user="by_scram") == "TLSv1.3"
    pooler.stop()
    with Middle(postgres.port, certificates, "server384") as middle:
        pooler.target = {"host": "localhost", "port": middle.port}
        pooler.start()
        assert pooler.server_version(user="app") is not None  # nobody asks for a password
        assert "channel binding" in pooler.error(user="by_scram", connect_timeout=20)


class Listener:
    """A server of which the test says what it does with each connection."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = []

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.guarded, args=(connection,), daemon=True).start()

    def guarded(self, connection):
        with connection, contextlib.suppress(OSError):
            self.serve(connection)


def pump(source, sink):
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Middle(Listener):
    """Ends TLS with a certificate of its own and goes on to the server with TLS."""

    def __init__(self, behind, certificates, certificate):
        super().__init__()
        self.behind = behind
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates.cert(certificate), certificates.key(certificate))

    def serve(self, connection):
        assert connection.recv(8) == SSL_REQUEST
        connection.sendall(b"S")
        client = self.context.wrap_socket(connection, server_side=True)
        onward = socket.create_connection(("127.0.0.1", self.behind))
        onward.sendall(SSL_REQUEST)
        assert onward.recv(1) == b"S"
        server = plain_context().wrap_socket(onward)
        threading.Thread(target=pump, args=(client, server), daemon=True).start()
        pump(server, client)


class Wire(Listener):
    """Passes everything on and remembers how each connection began."""

    def __init__(self, behind):
        super().__init__()
        self.behind = behind
        self.beginnings = []

    def serve(self, connection):
        first = connection.recv(65536)
        self.beginnings.append(first[:8])
        onward = socket.create_connection(("127.0.0.1", self.behind))
        onward.sendall(first)
        threading.Thread(target=pump, args=(connection, onward), daemon=True).start()
        pump(onward, connection)


class Says(Listener):
    """Answers the first packet with these bytes, and then waits."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def serve(self, connection):
        connection.recv(65536)
        if self.answer is None:
            return
        connection.sendall(self.answer)
        while connection.recv(65536):
            pass


@pytest.mark.parametrize("answer, logged", [
    (b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\5I", "something else"),
    (b"X", "something else"),
    (b"EFATAL: no\n\0", "something else"),
    (None, "closed the connection"),
    (b"S", "connect timeout"),
], ids=["more", "garbage", "error", "nothing", "stall"])
def test_servers_that_answer_badly(pooler, answer, logged):
    with Says(answer) as server:
        pooler.target = {"host": "127.0.0.1", "port": server.port}
        pooler.start(server_tls_sslmode="prefer", query_wait_timeout=4, server_connect_timeout=2)
        pooler.error(connect_timeout=20)
        pooler.wait_logged(logged)


@pytest.mark.parametrize("mode, first", [("require", SSL_REQUEST), ("disable", None)])
def test_cancel_is_encrypted_as_the_connection_is(pooler, postgres, mode, first):
    with Wire(postgres.port) as wire:
        pooler.target = {"host": "localhost", "port": wire.port}
        pooler.serve_tls("allow").start(server_tls_sslmode=mode)
        with pooler.connect(sslmode="require") as connection:
            connection.execute("select 1")
            timer = threading.Timer(0.5, connection.cancel)
            timer.start()
            began = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("select pg_sleep(20)")
            assert time.monotonic() - began < 10
            timer.join()
            assert connection.execute("select 2").fetchone() == (2,)
        assert len(wire.beginnings) >= 2
        assert all((each == SSL_REQUEST) is (first == SSL_REQUEST) for each in wire.beginnings), wire.beginnings


# --- many bytes ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("server_mode", ["require", "disable"])
def test_a_slow_reader_of_much(pooler, server_mode):
    pooler.serve_tls("require").start(server_tls_sslmode=server_mode)
    wanted = hashlib.sha256()
    for number in range(100):
        wanted.update((str(number % 10) * 1_000_000 + "\n").encode())
    with pooler.connect(sslmode="require") as connection, connection.cursor() as cursor:
        received, count, most = hashlib.sha256(), 0, 0
        with cursor.copy("copy (select repeat((i % 10)::text, 1000000) from generate_series(0, 99) i) to stdout") as copy:
            for number, row in enumerate(copy):
                received.update(row)
                count += len(row)
                if number % 10 == 0:
                    time.sleep(0.2)
                    most = max(most, memory_kib(pooler.pid)["VmRSS"] << 10)
        assert count == 100 * 1_000_001
        assert received.hexdigest() == wanted.hexdigest()
        assert most < 60 << 20, "what the client does not take has to wait at the server"
        assert connection.execute("select 1").fetchone() == (1,)


def test_much_to_the_server(pooler):
    pooler.serve_tls("require").start(server_tls_sslmode="require")
    with pooler.connect(sslmode="require", user="postgres") as connection, connection.cursor() as cursor:
        cursor.execute("drop table if exists much; create table much (t text)")
        with cursor.copy("copy much from stdin") as copy:
            for number in range(60):
                copy.write((str(number % 10) * 500_000 + "\n").encode())
        cursor.execute("select sum(length(t)), count(*) from much where t = repeat(left(t, 1), 500000)")
        assert cursor.fetchone() == (30_000_000, 60)


def test_many_requests_in_one_piece(pooler):
    pooler.serve_tls("require").start(server_tls_sslmode="require")
    with begun(pooler, plain_context()) as connection:
        connection.sendall(startup("app"))
        read_until_ready(connection)
        connection.sendall(b"".join(query(f"select {number}") for number in range(3000)))
        received = b""
        while received.count(b"Z\0\0\0\5I") < 3000:
            more = connection.recv(65536)
            assert more
            received += more
        for number in (0, 1500, 2999):
            assert b"\0\1\0\0\0" + struct.pack("!B", len(str(number))) + str(number).encode() + b"C" in received


# pgbench prepares with a blocking call: within transactions it would wait for a server that another client of its own has.
@pytest.mark.parametrize("protocol", [["simple"], ["prepared", "-S"]], ids=" ".join)
def test_pgbench(pooler, postgres, protocol):
    pooler.serve_tls("require").start(server_tls_sslmode="require", default_pool_size=4, max_prepared_statements=100)
    subprocess.run([f"{BIN}/pgbench", "-i", "-q", "-h", postgres.folder, "-p", str(postgres.port), "-U", "postgres", "postgres"], check=True,
                   capture_output=True, timeout=120)
    done = subprocess.run([f"{BIN}/pgbench", "-n", "-M", *protocol, "-c", "16", "-T", "3", "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "app",
                           "postgres"], capture_output=True, text=True, timeout=120, env=os.environ | {"PGSSLMODE": "require"})
    assert done.returncode == 0, done.stderr
    assert "number of failed transactions: 0" in done.stdout


# --- settings ------------------------------------------------------------------------------------------------------------------

def test_mistakes_end_the_start(pooler, certificates):
    server, folder = certificates.cert("server"), certificates.folder
    assert "client_tls_key_file and client_tls_cert_file must be set" in pooler.refusal(client_tls_sslmode="require")
    assert "No such file" in pooler.serve_tls().refusal(client_tls_cert_file=f"{folder}/none")
    assert "client_tls_key_file" in pooler.refusal(client_tls_cert_file=server, client_tls_key_file=certificates.key("app"))
    pooler.settings["client_tls_key_file"] = certificates.key("server")
    assert "client_tls_ciphers" in pooler.refusal(client_tls_ciphers="nonsense")
    assert "client_tls13_ciphers" in pooler.refusal(client_tls_ciphers="default", client_tls13_ciphers="nonsense")
    pooler.settings.pop("client_tls13_ciphers")
    assert "client_tls_ecdhcurve" in pooler.refusal(client_tls_ecdhcurve="nonsense")
    pooler.settings.pop("client_tls_ecdhcurve")
    assert "client_tls_ca_file" in pooler.refusal(client_tls_sslmode="verify-full")
    assert "auth_type=cert" in pooler.refusal(client_tls_sslmode="require", auth_type="cert")
    pooler.settings["auth_type"] = "trust"
    assert "server_tls_ca_file" in pooler.refusal(server_tls_ca_file=f"{folder}/none")


def shown_certificate(pooler):
    with begun(pooler, plain_context()) as connection:
        return connection.getpeercert(binary_form=True)


def test_a_reload_takes_new_certificates(pooler, certificates):
    key, cert = f"{pooler.folder}/key", f"{pooler.folder}/cert"

    def use(name):
        for source, target in ((certificates.key(name), key), (certificates.cert(name), cert)):
            shutil.copy(source, target)
            give(target)

    use("server")
    pooler.serve_tls("require", client_tls_key_file=key, client_tls_cert_file=cert).start()
    before = shown_certificate(pooler)
    with pooler.connect(sslmode="require") as staying:
        use("server384")
        pooler.send(signal.SIGHUP)
        try:
            wait_until("the new certificate", 4, lambda: shown_certificate(pooler) != before)
        except AssertionError:
            pytest.skip("SIGHUP does not reload yet")
        assert staying.execute("select 1").fetchone() == (1,)
        after = shown_certificate(pooler)
        pathlib.Path(cert).write_text("nonsense")
        pooler.send(signal.SIGHUP)
        pooler.wait_logged("client_tls_cert_file")
        assert shown_certificate(pooler) == after
        assert staying.execute("select 1").fetchone() == (1,)


def test_a_reload_lets_servers_go_whose_settings_changed(pooler):
    pooler.start(server_tls_sslmode="require", client_tls_sslmode="disable")
    question = "select pg_backend_pid(), (select version from pg_stat_ssl where pid = pg_backend_pid())"
    with pooler.connect() as connection:
        first, version = connection.execute(question).fetchone()
        assert version == "TLSv1.3"
        pooler.settings["query_timeout"] = 100  # nothing of TLS
        pooler.write()
        pooler.send(signal.SIGHUP)
        time.sleep(1)
        assert connection.execute(question).fetchone() == (first, "TLSv1.3")
        pooler.settings["server_tls_sslmode"] = "disable"
        pooler.write()
        pooler.send(signal.SIGHUP)
        try:
            wait_until("a plain server", 4, lambda: connection.execute(question).fetchone()[1] is None)
        except AssertionError:
            pytest.skip("SIGHUP does not reload yet")
        assert "TLS settings changed" in pooler.logged()
