"""What a login tells to who has no password, and what of it reaches the log."""
import base64
import os
import re
import socket
import struct

import psycopg
import pytest

from harness import wire
from harness.pooler import SUPERUSER, Pooler, open_folder, running_postgres
from harness.waiting import wait_until

NONCE = "abcdefghijklmnopqrstuvwx"
ASKS = {"auth_user": SUPERUSER, "auth_query": "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1"}


@pytest.fixture(scope="module")
def postgres():
    with running_postgres() as server:
        server.sql("CREATE ROLE app LOGIN PASSWORD 'the password of app'")
        server.sql("SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'the password of old'")
        yield server


@pytest.fixture
def made(postgres):
    poolers = []
    with open_folder() as folder:
        def make(databases=(), **settings):
            everywhere = {"*": f"host=127.0.0.1 port={postgres.port}", **dict(databases)}
            poolers.append(Pooler(folder, everywhere, name=f"p{len(poolers)}", **settings).start())
            return poolers[-1]

        yield make
        for pooler in poolers:
            pooler.stop()


def first_of_scram():
    first = f"n,,n=,r={NONCE}".encode()
    return wire.message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)


def login(pooler, user, database=SUPERUSER):
    """What a client hears that does not know the password: a list of messages, without what is random in them."""
    heard, raw = [], b""
    with socket.create_connection(("127.0.0.1", pooler.port), timeout=20) as client:
        client.sendall(wire.startup(user, database))
        while True:
            while len(raw) < 5 or len(raw) < 1 + struct.unpack("!I", raw[1:5])[0]:
                more = client.recv(65536)
                if not more:
                    return heard
                raw += more
            size = 1 + struct.unpack("!I", raw[1:5])[0]
            kind, text, raw = raw[:1], raw[5:size], raw[size:]
            code = struct.unpack("!I", text[:4])[0] if kind == b"R" else None
            if code == 5:
                text = text[:4]
                client.sendall(wire.message(b"p", b"md5" + 32 * b"0" + b"\0"))
            elif code == 3:
                client.sendall(wire.message(b"p", b"wrong\0"))
            elif code == 10:
                client.sendall(first_of_scram())
            elif code == 11:
                nonce, salt, rounds = re.fullmatch(rb"r=([^,]+),s=([^,]+),(i=\d+)", text[4:]).groups()
                text = struct.pack("!I", 11) + b"%d bytes of salt, " % len(base64.b64decode(salt)) + rounds
                client.sendall(wire.message(b"p", b"c=biws,r=" + nonce + b",p=" + base64.b64encode(bytes(32))))
            heard.append((kind, text))


def salt_of(pooler, user):
    with socket.create_connection(("127.0.0.1", pooler.port), timeout=20) as client:
        client.sendall(wire.startup(user) + first_of_scram())
        got = b""
        while b",i=" not in got:
            more = client.recv(65536)
            assert more, got
            got += more
    return re.search(rb",s=([^,]+),", got).group(1)


@pytest.mark.parametrize("auth_type", ["md5", "scram-sha-256", "plain"])
def test_nobody_learns_which_users_and_databases_there_are(made, auth_type):
    # The first question comes while nothing is known of how passwords are stored.
    pooler = made(auth_type=auth_type, **ASKS)
    nobody = login(pooler, "nobody")
    assert [kind for kind, _ in nobody] == [b"R", b"E"] if auth_type == "plain" else [b"R", b"R", b"E"]
    assert b"password authentication failed" in nobody[-1][1]
    assert login(pooler, "app") == nobody
    assert login(pooler, "nobody", "nowhere") == nobody
    assert login(pooler, "app", "nowhere") == nobody


def test_a_database_that_a_login_names_is_not_made(made):
    pooler = made(auth_type="scram-sha-256", auth_dbname=SUPERUSER, admin_users="app", **ASKS)
    for number in range(20):
        login(pooler, "app", f"made_up_{number}")
    with pooler.connect("pgbouncer", user="app", password="the password of app") as admin:
        names = {row[0] for row in admin.execute("SHOW DATABASES").fetchall()}
    assert not [name for name in names if name.startswith("made_up")]


def test_made_up_salts_are_the_same_after_a_restart(made):
    settings = {"auth_type": "scram-sha-256", "users": '"app" "the password of app"\n'}
    pooler = made(**settings)
    seed = f"{pooler.folder}/seed"
    os.chmod(pooler.folder, 0o777)
    seeded, other = (made(auth_seed_file=seed, **settings) for _ in range(2))
    assert os.stat(seed).st_mode & 0o777 == 0o600
    before = {user: salt_of(seeded, user) for user in ("nobody", "somebody", "app")}
    assert len(set(before.values())) == 3
    assert {user: salt_of(other, user) for user in before} == before
    seeded.stop()
    seeded.start()
    assert {user: salt_of(seeded, user) for user in before} == before
    assert salt_of(pooler, "nobody") != before["nobody"]
    with open(seed, "w") as file:
        file.write("too short")
    seeded.stop()
    refused = seeded.run(seeded.file)
    assert refused.returncode == 1 and "auth_seed_file" in refused.stdout + refused.stderr


@pytest.mark.parametrize("auth_type", ["md5", "scram-sha-256", "plain"])
def test_no_secret_reaches_the_log(made, postgres, auth_type):
    pooler = made({"forced": f"host=127.0.0.1 port={postgres.port} user=app password='the password of app'"},
                  users=f'"{SUPERUSER}" ""\n"stored" "the password of stored"\n', auth_type=auth_type, verbose=3, admin_users="app", **ASKS)
    for user in ("app", "old", "stored"):
        for database in (SUPERUSER, "forced"):
            for password in (f"the password of {user}", "the wrong password"):
                try:
                    pooler.connect(database, user=user, password=password).close()
                except psycopg.OperationalError:
                    pass
    with pooler.connect("pgbouncer", user="app", password="the password of app") as admin:
        admin.execute("RELOAD")
        shown = str([admin.execute(f"SHOW {what}").fetchall() for what in ("DATABASES", "USERS", "CLIENTS", "SERVERS", "CONFIG")])
    secrets = [row[0] for row in postgres.sql("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")]
    pieces = [piece for secret in secrets for piece in re.split(r"[$:]", secret) if len(piece) > 20]
    assert len(pieces) == 4  # a salt, two keys and an md5 hash
    text = wait_until("both kinds of end", 10, lambda: (got := pooler.logged()) and "login failed" in got and "RELOAD" in got and got)
    for secret in ["the password of", "the wrong password", *pieces]:
        assert secret not in text and secret not in shown
