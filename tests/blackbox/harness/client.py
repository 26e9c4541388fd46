"""One PostgreSQL connection with a deadline on every wait, on libpq's own non-blocking calls.

libpq's connect_timeout has whole seconds and at least two of them, and a query on a frozen server waits for ever. A test that
measures failover in milliseconds can use neither.
"""
import dataclasses
import select
import time

from psycopg import pq


class Unreachable(Exception):
    """No connection: nothing was sent."""


@dataclasses.dataclass
class Answer:
    """What came back for one statement. `outcome` is ok, failed (the server said ERROR: not done) or indeterminate."""

    outcome: str
    value: str = ""  # first column of the first row
    row: tuple = ()
    text: str = ""  # error, or warning that makes an answer indeterminate
    sqlstate: str = ""


class Session:
    def __init__(self, conninfo, seconds):
        deadline = time.monotonic() + seconds
        self.notices = []
        self.connection = pq.PGconn.connect_start(conninfo.encode())
        self.connection.notice_handler = lambda result: self.notices.append(_text(result))
        while True:
            if self.connection.status == pq.ConnStatus.BAD:
                self._give_up(self.connection.error_message.decode(errors="replace").strip())
            state = self.connection.connect_poll()
            if state == pq.PollingStatus.OK:
                break
            if state == pq.PollingStatus.FAILED:
                self._give_up(self.connection.error_message.decode(errors="replace").strip())
            if not _wait(self.connection.socket, state == pq.PollingStatus.WRITING, deadline):
                self._give_up(f"no answer within {seconds} s")
        self.connection.nonblocking = 1
        self.port = int(self.connection.port or 0)

    def _give_up(self, why):
        self.connection.finish()
        raise Unreachable(why)

    def close(self):
        self.connection.finish()

    @property
    def usable(self):
        return self.connection.status == pq.ConnStatus.OK

    def query(self, sql, seconds, parameters=()):
        """Runs one statement. After an indeterminate answer the session is closed: its reply could come any time."""
        deadline = time.monotonic() + seconds
        self.notices.clear()
        connection = self.connection
        if not self.usable:
            return Answer("failed", text="the connection was already closed")  # nothing leaves this process
        try:
            connection.send_query_params(sql.encode(), [str(value).encode() for value in parameters])
            while connection.flush():
                if not _wait(connection.socket, True, deadline):
                    return self._indeterminate("timed out while sending")
            last = None
            while True:
                while connection.is_busy():
                    if not _wait(connection.socket, False, deadline):
                        return self._indeterminate(f"no answer within {seconds} s")
                    connection.consume_input()
                result = connection.get_result()
                if result is None:
                    break
                last = self._judge(result)
                if not self.usable:
                    break
        except Exception as error:
            return self._indeterminate(str(error).strip())
        if last is None or (not self.usable and last.outcome != "ok"):
            return self._indeterminate(last.text if last else "connection lost", last.sqlstate if last else "")
        if last.outcome == "ok" and any("synchronous replication" in notice for notice in self.notices):
            # "The transaction has already committed locally, but might not have been replicated": not acknowledged.
            return dataclasses.replace(last, outcome="indeterminate", text=self.notices[-1])
        return last

    def _judge(self, result):
        if result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY):
            row = ()
            if result.ntuples:
                row = tuple((result.get_value(0, column) or b"").decode() for column in range(result.nfields))
            return Answer("ok", value=row[0] if row else "", row=row)
        severity = (result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) or b"").decode()
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        # A FATAL may arrive while COMMIT waits for a standby: done here, perhaps nowhere else.
        return Answer("failed" if severity == "ERROR" else "indeterminate", text=_text(result), sqlstate=state)

    def _indeterminate(self, why, sqlstate=""):
        self.close()
        return Answer("indeterminate", text=why, sqlstate=sqlstate)


def _text(result):
    return (result.error_message or b"").decode(errors="replace").strip()


def _wait(descriptor, writing, deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT if writing else select.POLLIN)
    return bool(poller.poll(left * 1000))


def ask(conninfo, sql, seconds=5.0):
    """One statement on a fresh connection; its first row as texts. Raises Unreachable or RuntimeError."""
    session = Session(conninfo, seconds)
    try:
        answer = session.query(sql, seconds)
        if answer.outcome != "ok":
            raise RuntimeError(answer.text)
        return answer.row
    finally:
        session.close()


def ask_all(conninfo, sql, seconds=30.0):
    """All rows of the first column, for the reading at the end of a test."""
    session = Session(conninfo, seconds)
    try:
        session.connection.nonblocking = 0
        result = session.connection.exec_(sql.encode())
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise RuntimeError(_text(result))
        return [(result.get_value(row, 0) or b"").decode() for row in range(result.ntuples)]
    finally:
        session.close()
