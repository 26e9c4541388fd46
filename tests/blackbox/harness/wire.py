"""A client that speaks PostgreSQL's protocol by hand: for what no library does, such as half a message, a pipeline whose answers
nobody reads, or going away in the middle."""
import contextlib
import socket
import struct

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
CANCEL = 80877102


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


def startup(user="postgres", database="postgres", **parameters):
    pairs = dict(user=user, database=database, **parameters).items()
    body = struct.pack("!i", 196608) + b"".join(text(name) + text(value) for name, value in pairs) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def query(sql):
    return message(b"Q", text(sql))


def parse(name, sql):
    return message(b"P", text(name) + text(sql) + b"\0\0")


def bind(statement, *values, portal=""):
    given = b"".join(struct.pack("!i", len(value)) + value for value in (str(value).encode() for value in values))
    return message(b"B", text(portal) + text(statement) + struct.pack("!hh", 0, len(values)) + given + b"\0\0")


def execute(portal="", rows=0):
    return message(b"E", text(portal) + struct.pack("!i", rows))


def close(name):
    return message(b"C", b"S" + text(name))


def data(rows):
    return message(b"d", rows)


SYNC, FLUSH, TERMINATE, COPY_DONE = message(b"S"), message(b"H"), message(b"X"), message(b"c")


class Failed(Exception):
    """An ErrorResponse, or the end of the connection (sqlstate empty)."""

    def __init__(self, sqlstate, words):
        super().__init__(f"{sqlstate} {words}")
        self.sqlstate, self.words = sqlstate, words


def fields_of(body):
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


def values_of(body):
    """Of a DataRow, as bytes; None for NULL."""
    found, at = [], 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        found.append(None if size < 0 else bytes(body[at : at + size]))
        at += max(size, 0)
    return found


def columns_of(body):
    """The names in a RowDescription."""
    found, at = [], 2
    while at < len(body):
        end = body.index(b"\0", at)
        found.append(body[at:end].decode())
        at = end + 19
    return found


class Wire:
    """`login=False`: nothing is sent yet. `room`: of the socket's receive buffer, for clients that read slowly."""

    def __init__(self, port, user="postgres", database="postgres", login=True, seconds=30, room=None, **parameters):
        self.socket = socket.socket()
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.settimeout(seconds)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.parameters, self.status = {}, ""
        self.key = b""
        if login:
            try:
                self.send(startup(user, database, **parameters))
                self.finish()
            except BaseException:
                self.close()
                raise

    def send(self, *messages):
        """What the other side said before it went away is still there to be read: that tells more than a broken pipe."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(b"".join(messages))

    def more(self, size=65536):
        try:
            got = self.socket.recv(size)
        except ConnectionError as error:
            raise Failed("", str(error)) from None
        if not got:
            raise Failed("", "closed")
        self.received += got

    def next(self):
        """The next message's type and body."""
        while len(self.received) < 5 or len(self.received) < (size := 1 + struct.unpack_from("!i", self.received, 1)[0]):
            self.more()
        kind, body = bytes(self.received[:1]).decode(), bytes(self.received[5:size])
        del self.received[:size]
        if kind == "S":
            name, value = body.split(b"\0")[:2]
            self.parameters[name.decode()] = value.decode()
        elif kind == "K":
            self.key = body
        elif kind == "Z":
            self.status = body.decode()
        return kind, body

    def until(self, *kinds):
        """All messages up to the first of these types, with it. FATAL ends everything."""
        found = []
        while True:
            found.append(self.next())
            if found[-1][0] in kinds:
                return found
            if found[-1][0] == "E" and fields_of(found[-1][1])["S"] in ("FATAL", "PANIC"):
                fields = fields_of(found[-1][1])
                raise Failed(fields["C"], fields["M"])

    def finish(self):
        """All messages up to ReadyForQuery; raises Failed when one of them is an error."""
        found = self.until("Z")
        for kind, body in found:
            if kind == "E":
                fields = fields_of(body)
                raise Failed(fields["C"], fields["M"])
        return found

    def rows(self, *messages):
        """Sends this and reads up to ReadyForQuery: every row, its values as text."""
        self.send(*messages)
        return [tuple(None if value is None else value.decode() for value in values_of(body)) for kind, body in self.finish() if kind == "D"]

    def sql(self, statement):
        return self.rows(query(statement))

    def table(self, statement):
        """Its rows as dictionaries by column."""
        self.send(query(statement))
        names, rows = [], []
        for kind, body in self.finish():
            if kind == "T":
                names = columns_of(body)
            elif kind == "D":
                rows.append({name: None if value is None else value.decode() for name, value in zip(names, values_of(body))})
        return rows

    def value(self, statement):
        return self.sql(statement)[0][0]

    def cancel(self, port=None):
        """Here, or at a peer; returns when all is done."""
        with socket.create_connection(("127.0.0.1", port or self.socket.getpeername()[1]), self.socket.gettimeout()) as other:
            other.sendall(struct.pack("!ii", 8 + len(self.key), CANCEL) + self.key)
            assert other.recv(1) == b"", "it says nothing, and closes"

    def close(self):
        """By FIN, without Terminate."""
        self.socket.close()

    def reset(self):
        """By RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
