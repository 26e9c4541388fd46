"""A client that writes down what it was told: unique integers from several threads, each ok, failed or indeterminate.

Every thread connects as a libpq client does, with all nodes in one multi-host string and target_session_attrs=read-write; a
node that does not answer within `patience` is left for the next one. Afterwards `verify` compares with what the surviving
primary has: a value acknowledged and missing is lost; a value refused and present was acknowledged to nobody but kept.
"""
import dataclasses
import itertools
import threading
import time

from .client import Session, Unreachable, ask, ask_all
from .promises import promise

# The timeline on which the answering server writes. It comes back with each acknowledgement, so that an old primary which
# acknowledges after a newer one has done so can be told from a late answer.
TIMELINE = "('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int"
INSERT = f"insert into journal(id, writer) values ($1::bigint, $2::int) returning {TIMELINE}"


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Where a cluster listens and how a client gets in. The password is in a passfile, never in an argument."""

    ports: tuple
    user: str = "postgres"
    database: str = "postgres"
    passfile: str = "/dev/null"
    host: str = "127.0.0.1"

    def conninfo(self, ports=None, read_write=False, name="journal"):
        ports = self.ports if ports is None else ports
        text = (
            f"host={','.join([self.host] * len(ports))} port={','.join(map(str, ports))} user={self.user} dbname={self.database}"
            f" passfile='{self.passfile}' application_name={name} sslmode=disable gssencmode=disable"
        )
        return text + (" target_session_attrs=read-write" if read_write else "")


class Slack:
    """By how much patience is multiplied. A client that gives up and connects again makes a server that is merely slow slower: on
    a machine whose processors are all busy nobody would get through any more. A server that refuses costs nothing, and counts for
    nothing; after a few silences in a row each further one makes the next attempt longer."""

    def __init__(self, most=10.0):
        self.most = most
        self.factor = 1.0
        self.silences = 0

    def failed(self, by_silence):
        if by_silence:
            self.silences += 1
            if self.silences > 4:
                self.factor = min(self.factor * 1.5, self.most)

    def answered(self):
        self.silences = 0
        self.factor = max(1.0, self.factor * 0.9)


@dataclasses.dataclass(frozen=True)
class Write:
    id: int
    outcome: str
    sent: float  # time.monotonic()
    answered: float
    port: int
    timeline: int
    text: str


class Journal:
    def __init__(self, endpoints, writers=3, pause=0.004, patience=0.5, write_patience=None, most_slack=10.0, read_write=True):
        """`pause` between two writes of a thread; `patience` for connecting; `write_patience` for one write (default: the same);
        `read_write`: libpq looks for a primary (behind a pooler there is nothing to choose from).
        `most_slack` 1: patience is what it is, for a measurement (a frozen node is silent, and no sign of a busy machine)."""
        self.endpoints = endpoints
        self.writers = writers
        self.pause = pause
        self.patience = patience
        self.write_patience = write_patience or patience
        self.most_slack = most_slack
        self.read_write = read_write
        self.writes = []
        self.refusals = 0  # attempts that found no primary; nothing was sent
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = []
        self.began = self.ended = None

    def prepare(self, seconds=10.0):
        session = Session(self.endpoints.conninfo(read_write=True), seconds)
        try:
            # A new table each time: a shared cluster has the last test's.
            for statement in ("drop table if exists journal", "create table journal(id bigint primary key, writer int not null)"):
                answer = session.query(statement, seconds)
                assert answer.outcome == "ok", answer
        finally:
            session.close()
        return self

    def __enter__(self):
        self.prepare()
        self.began = time.monotonic()
        for number in range(self.writers):
            thread = threading.Thread(target=self._write, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.ended is None:
            self.ended = time.monotonic()

    def _write(self, number):
        ports = list(self.endpoints.ports)
        session = None
        slack = Slack(self.most_slack)
        while not self._stop.is_set():
            if session is None:
                began = time.monotonic()
                patience = self.patience * slack.factor
                try:
                    session = Session(self.endpoints.conninfo(ports, read_write=self.read_write), patience)
                    slack.answered()
                except Unreachable:
                    slack.failed(time.monotonic() - began >= patience)
                    self.refusals += 1
                    ports.append(ports.pop(0))  # whichever was asked first may be frozen
                    self._stop.wait(0.01)
                    continue
            with self._lock:
                value = next(self._ids)
            sent = time.monotonic()
            answer = session.query(INSERT, self.write_patience * slack.factor, (value, number))
            write = Write(value, answer.outcome, sent, time.monotonic(), session.port,
                          int(answer.value) if answer.value else 0, answer.text)
            with self._lock:
                self.writes.append(write)
            if answer.outcome == "ok":
                slack.answered()
            else:
                slack.failed(write.answered - sent >= self.write_patience * slack.factor)
                session.close()
                session = None
            self._stop.wait(self.pause)
        if session is not None:
            session.close()

    def snapshot(self):
        with self._lock:
            return list(self.writes)

    def acknowledged(self):
        return [write for write in self.snapshot() if write.outcome == "ok"]

    def count(self, outcome):
        return sum(write.outcome == outcome for write in self.snapshot())

    def acknowledged_since(self, moment):
        return any(write.outcome == "ok" and write.sent >= moment for write in reversed(self.snapshot()))

    def longest_gap(self, since=None, until=None):
        """The longest time without an acknowledgement, in seconds, in the given window (default: from start to now or stop)."""
        since = self.began if since is None else since
        until = (self.ended or time.monotonic()) if until is None else until
        moments = sorted(write.answered for write in self.acknowledged() if since <= write.answered <= until)
        edges = [since, *moments, until]
        return max(after - before for before, after in zip(edges, edges[1:]))

    def verify(self, seconds=30.0):
        """Compares with the primary that is there now. Returns a Verdict; call `stop` first."""
        assert self._stop.is_set(), "stop the writers first"
        there = {int(value) for value in ask_all(self.endpoints.conninfo(read_write=True), "select id from journal", seconds)}
        writes = self.snapshot()
        return Verdict(
            acknowledged=sum(write.outcome == "ok" for write in writes),
            failed=sum(write.outcome == "failed" for write in writes),
            indeterminate=sum(write.outcome == "indeterminate" for write in writes),
            lost=sorted(write.id for write in writes if write.outcome == "ok" and write.id not in there),
            unexpected=sorted(write.id for write in writes if write.outcome == "failed" and write.id in there),
            unknown=sorted(there - {write.id for write in writes}),
            second_primary=second_primary(writes),
        )


@dataclasses.dataclass(frozen=True)
class Verdict:
    acknowledged: int
    failed: int
    indeterminate: int
    lost: list  # ids that a client saw succeed and that are gone
    unexpected: list  # ids that a client saw refused and that are there
    unknown: list  # ids in the table that this journal never wrote
    second_primary: list  # pairs of writes: see second_primary()

    def check(self, at_least=1):
        assert self.acknowledged >= at_least, f"the journal proves nothing: {self}"
        promise(not self.lost, f"acknowledged writes are gone: {self.lost[:20]} of {self.acknowledged} ({self})")
        promise(not self.unexpected, f"refused writes are there: {self.unexpected[:20]} ({self})")
        promise(not self.second_primary, f"two primaries acknowledged: {self.second_primary[:3]}")
        return self


def second_primary(writes):
    """Pairs (newer, older): the older timeline acknowledged a write that was sent after the newer one had acknowledged one."""
    pairs = []
    first_of = {}
    for write in writes:
        if write.outcome == "ok" and (write.timeline not in first_of or write.answered < first_of[write.timeline].answered):
            first_of[write.timeline] = write
    for write in writes:
        if write.outcome != "ok":
            continue
        for timeline, first in first_of.items():
            if timeline > write.timeline and write.sent > first.answered:
                pairs.append((first, write))
    return pairs


def same_everywhere(endpoints, ports=None):
    """Every node has the same rows; returns their number. Replicas may need a moment: call it through wait_until."""
    sums = {}
    for port in ports or endpoints.ports:
        sql = "select count(*), coalesce(sum(hashint8(id)::bigint), 0) from journal"
        sums[port] = ask(endpoints.conninfo([port]), sql)
    assert len(set(sums.values())) == 1, f"the nodes differ: {sums}"
    return int(next(iter(sums.values()))[0]) or True
