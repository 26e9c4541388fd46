"""Looks for a second primary: every 50 ms each node is asked whether it is in recovery, and each that says no is asked to write.

Two nodes out of recovery at once are not yet a fault: a frozen old primary that wakes up believes that it is one until somebody
tells it otherwise. The fault is a write that the older one acknowledges after the newer one has acknowledged one; `check`
asserts that this never happened. One thread and one outstanding question per node: a frozen node delays nobody else.
"""
import dataclasses
import itertools
import threading
import time

from .client import Session, Unreachable
from .journal import TIMELINE, Slack, Write, second_primary
from .promises import promise

WRITE = f"insert into probe(id, node) values ($1::bigint, $2::int) returning {TIMELINE}"


@dataclasses.dataclass(frozen=True)
class Sight:
    """One answer: between `asked` and `answered` this node said whether it is a primary, and of which term."""

    port: int
    asked: float
    answered: float
    primary: bool
    term: str


class PrimaryProbe:
    EVERY = 0.05

    def __init__(self, endpoints, patience=0.4):
        self.endpoints = endpoints
        self.patience = patience
        self.sights = []
        self.writes = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = []

    def __enter__(self):
        session = Session(self.endpoints.conninfo(read_write=True, name="probe"), 10.0)
        try:
            for statement in ("drop table if exists probe", "create table probe(id bigint primary key, node int not null)"):
                answer = session.query(statement, 10.0)
                assert answer.outcome == "ok", answer
        finally:
            session.close()
        for port in self.endpoints.ports:
            thread = threading.Thread(target=self._watch, args=(port,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, port):
        session = None
        slack = Slack()
        while not self._stop.is_set():
            began = time.monotonic()
            patience = self.patience * slack.factor
            if session is None or not session.usable:
                try:
                    session = Session(self.endpoints.conninfo([port], name="probe"), patience)
                except Unreachable:
                    session = None
                    slack.failed(time.monotonic() - began >= patience)
            if session is not None:
                if self._look(session, port, patience):
                    slack.answered()
                else:
                    slack.failed(time.monotonic() - began >= patience)
            self._stop.wait(max(0.0, self.EVERY - (time.monotonic() - began)))
        if session is not None:
            session.close()

    def _look(self, session, port, patience):
        asked = time.monotonic()
        answer = session.query("select pg_is_in_recovery(), coalesce(current_setting('pgdba.term', true), '')", patience)
        if answer.outcome != "ok":
            session.close()
            return False
        primary = answer.row[0] == "f"
        with self._lock:
            self.sights.append(Sight(port, asked, time.monotonic(), primary, answer.row[1]))
            value = next(self._ids)
        if not primary:
            return True
        sent = time.monotonic()
        answer = session.query(WRITE, patience, (value, port))
        with self._lock:
            self.writes.append(Write(value, answer.outcome, sent, time.monotonic(), port,
                                     int(answer.value) if answer.value else 0, answer.text))
        return answer.outcome == "ok"

    def primaries(self):
        """The ports that said "primary" in their latest answer, as of the last second."""
        latest = {}
        with self._lock:
            for sight in self.sights[-200:]:
                latest[sight.port] = sight
        now = time.monotonic()
        return sorted(port for port, sight in latest.items() if sight.primary and now - sight.answered < 1.0)

    def overlaps(self):
        """How often two nodes claimed to be primary at once: (port, port) for sights whose times of asking overlap in order
        a, b, a. For reports; it is no fault in itself."""
        claims = sorted((sight for sight in self.sights if sight.primary), key=lambda sight: sight.asked)
        found = []
        for first, second, third in zip(claims, claims[1:], claims[2:]):
            if first.port == third.port != second.port:
                found.append((first.port, second.port))
        return found

    def changes(self):
        """The sequence of primaries seen, as ports: [5432, 5433] means one failover."""
        claims = sorted((sight for sight in self.sights if sight.primary), key=lambda sight: sight.answered)
        sequence = []
        for sight in claims:
            if not sequence or sequence[-1] != sight.port:
                sequence.append(sight.port)
        return sequence

    def check(self):
        assert self.sights, "the probe saw no node at all: it proves nothing"
        assert any(sight.primary for sight in self.sights), "the probe never saw a primary: it proves nothing"
        pairs = second_primary(self.writes)
        promise(not pairs, f"an old primary acknowledged after a newer one: {pairs[:3]}")
        return self
