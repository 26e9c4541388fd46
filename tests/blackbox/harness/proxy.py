"""A TCP proxy that cuts: between a pooler and PostgreSQL, so that a server vanishes in a chosen state."""
import select
import socket
import struct
import threading

TO_SERVER, TO_CLIENT = "to the server", "to the client"


class Trap:
    """The first time that these bytes go this way, `keep` of them still pass; then the connection is cut."""

    def __init__(self, direction, pattern, how, keep=0):
        self.direction, self.pattern, self.how, self.keep = direction, pattern, how, keep
        self.sprung = threading.Event()


class Link(threading.Thread):
    def __init__(self, proxy, client):
        super().__init__(daemon=True)
        self.proxy, self.client, self.how, self.tails = proxy, client, None, {}
        self.server = socket.create_connection(("127.0.0.1", proxy.target), 10)
        for each in (self.client, self.server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self):
        try:
            while self.how is None:
                for source in select.select([self.client, self.server], [], [], 0.02)[0]:
                    data = source.recv(65536)
                    sink, way = (self.server, TO_SERVER) if source is self.client else (self.client, TO_CLIENT)
                    trap, end = self.proxy.trap, self.end_of_trap(way, data)
                    if end is not None:
                        self.proxy.trap = None
                        self.forward(data[:end], sink)
                        self.how = trap.how
                        trap.sprung.set()
                    elif not data:
                        self.how = "fin"
                    else:
                        self.forward(data, sink)
                    if self.how is not None:
                        break
        except OSError:
            self.how = self.how or "rst"
        finally:
            for each in (self.client, self.server):
                if self.how == "rst":
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.close()
            self.proxy.links.discard(self)

    def end_of_trap(self, way, data):
        """How much of this may pass; None: all. What the trap waits for may come in two pieces."""
        trap, before = self.proxy.trap, self.tails.get(way, b"")
        self.tails[way] = (before + data)[-50:]
        if trap is None or trap.direction is not way:
            return None
        at = (before + data).find(trap.pattern, max(0, len(before) - len(trap.pattern) + 1))
        return None if at < 0 else max(0, at - len(before) + trap.keep)

    def forward(self, data, sink):
        rest = memoryview(data)
        while rest and self.how is None:
            try:
                rest = rest[sink.send(rest) :]
            except BlockingIOError:
                select.select([], [sink], [], 0.02)


class Proxy:
    def __init__(self, target):
        self.target, self.trap, self.links = target, None, set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                link = Link(self, self.listener.accept()[0])
            except OSError:  # closed, or PostgreSQL has gone
                if self.listener.fileno() < 0:
                    return
                continue
            self.links.add(link)
            link.start()

    def set(self, direction, pattern, how, keep=0):
        self.trap = Trap(direction, pattern, how, keep)
        return self.trap

    def cut(self, how):
        links = list(self.links)
        for link in links:
            link.how = how
        for link in links:
            link.join(10)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut("rst")
