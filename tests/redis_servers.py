"""Redis servers of our own, which a test may do anything to."""

import shutil
import socket
import subprocess
import threading

import pytest


def free_port():
    """A port that is free, and so low that a cluster's second one, 10,000 above it, is one as well."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55_000:
            return port


class RedisServer:
    """A server of our own, on a free port of this machine."""

    def __init__(self, directory, *options, tls=False):
        self.directory = directory
        self.options = options
        self.tls = tls
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        ports = ("--port", 0, "--tls-port", self.port) if self.tls else ("--port", self.port)
        words = ["redis-server", *ports, "--bind", "127.0.0.1", "--dir", self.directory, "--save", ""]
        self.process = subprocess.Popen(
            [str(word) for word in (*words, *self.options)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.process.stdout:
            if "Ready to accept connections" in line:
                # Nobody reads on: a full pipe would stop the server.
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return
        raise RuntimeError(f"redis-server ended with {self.process.wait()}")

    def kill(self):
        self.process.kill()
        self.process.wait()


def start_redis(directory, *options, tls=False):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    return RedisServer(directory, *options, tls=tls)
