"""What asks for health: a listener that starts a command for each connection, as systemd does with
Accept=yes, and clients of it."""

import json
import socket
import threading

from harness import MIRRORD


class Listener:
    """Each connection is standard input and output of a `mirrord health` of its own."""

    def __init__(self, env, *argv):
        self.env, self.argv, self.processes = env, [MIRRORD, "health", *argv], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with open(self.env.path(f"health-{self.port}.log"), "ab") as log:
            while True:
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    return
                with connection:
                    if self.open:
                        self.processes.append(self.env.spawn(
                            self.argv, stdin=connection, stdout=connection, stderr=log))

    def close(self):
        self.open = False
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(60)
        return s

    def ask(self, text):
        """Everything that is answered to these bytes."""
        with self.connect() as s:
            s.sendall(text)
            out = b""
            while True:
                got = s.recv(65536)
                if not got:
                    return out.decode()
                out += got

    def http(self, target="/", method="GET"):
        """(status, body as JSON, or None)"""
        answer = self.ask(f"{method} {target} HTTP/1.1\r\nHost: health\r\n\r\n".encode())
        head, body = answer.split("\r\n\r\n", 1)
        lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        assert lines[0].startswith("HTTP/1.1 "), answer
        assert fields["Connection"] == "close", answer
        assert method == "HEAD" or int(fields["Content-Length"]) == len(body), answer
        return int(lines[0].split()[1]), json.loads(body) if body else None

    def agent(self):
        return self.ask(b"")
