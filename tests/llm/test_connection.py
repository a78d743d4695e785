"""Connections: through TLS and proxies, reused while they are good, and never with old bytes."""

import asyncio
import base64
import contextlib
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest
from asking import QUICK, ask, requests

from benchmarks.chat_server import ChatServer, completion, running, send
from zv_jax.errors import SetupError
from zv_jax.llm.client import Client
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.request import Reply


def texts(server, folder, number=3, **endpoint):
    outcomes = ask(server, folder, requests(number), **endpoint)
    assert all(isinstance(outcome, Reply) for _, outcome in outcomes), outcomes
    return [outcome.text for _, outcome in outcomes]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("certificate")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(words, check=True, capture_output=True)
    return folder


class Secured(ChatServer):
    """The scripted server behind TLS."""

    def __init__(self, folder):
        super().__init__()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    async def serve(self, port=0):
        server = await asyncio.start_server(
            self._connection, "127.0.0.1", port, ssl=self.context, backlog=64
        )
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"https://localhost:{self.port}/v1"
        return server


class Proxy(ChatServer):
    """A proxy: answers what comes in the form for proxies, and connects what wants a tunnel."""

    async def _connection(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads = [*getattr(self, "heads", []), head]
            target = head.split(" ")[1]
            if head.startswith("CONNECT"):
                host, port = target.split(":")
                there = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 yes\r\n\r\n")
                await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
            else:
                await send(writer, 200, b'{"choices": [{"message": {"content": "by proxy"}}]}')
        writer.close()


async def pipe(source, sink):
    with contextlib.suppress(ConnectionError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


def test_a_server_behind_tls_is_asked_where_its_certificate_is_trusted(
    tmp_path, certificate, monkeypatch
):
    with running(Secured(certificate)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        assert len(texts(server, tmp_path / "a")) == 3
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(Exception, match="nothing answers at this address[^\n]*certificate"):
            texts(server, tmp_path / "b", tries=1)
        assert server.bill.seen == 3


def test_a_proxy_of_the_environment_is_used_and_left_aside_where_that_says_so(
    tmp_path, monkeypatch
):
    with running(Proxy()) as proxy, running(ChatServer()) as server:
        monkeypatch.setenv("http_proxy", f"http://ann:o%40b@127.0.0.1:{proxy.port}")
        assert texts(server, tmp_path / "a", concurrency=1)[0] == "by proxy"
        assert proxy.heads[0].startswith(f"POST {server.url}/chat/completions ")
        word = base64.b64encode(b"ann:o@b").decode()
        assert f"Proxy-Authorization: Basic {word}" in proxy.heads[0]
        assert server.bill.seen == 0
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert texts(server, tmp_path / "b")[0].startswith("word ")


def test_tls_goes_through_the_tunnel_of_a_proxy(tmp_path, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with running(Proxy()) as proxy, running(Secured(certificate)) as server:
        monkeypatch.setenv("all_proxy", f"127.0.0.1:{proxy.port}")
        assert texts(server, tmp_path, concurrency=1)[0].startswith("word ")
        assert proxy.heads[0].startswith(f"CONNECT localhost:{server.port} ")


def test_a_socks_proxy_without_its_package_is_one_clear_error(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(SetupError, match="socksio"):
        texts(server, tmp_path)


def test_bytes_that_nobody_asked_for_never_answer_the_next_request(tmp_path):
    """A server that says more than its answer: the rest is not the answer to what comes next."""
    number, said = 0, threading.Event()

    async def connection(reader, writer):
        nonlocal number
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                number += 1
                await send(writer, 200, b'{"choices": [{"message": {"content": "%d"}}]}' % number)
                await asyncio.sleep(0.02)  # so that it comes apart from the answer
                await send(writer, 200, b'{"choices": [{"message": {"content": "stray"}}]}')
                said.set()

    found = []
    with listening(connection) as server, Ledger(tmp_path / "ledger.jsonl", "test") as ledger:
        with Client(Endpoint(server.url, "m", **(QUICK | {"concurrency": 1})), ledger) as client:
            for row in requests(4):
                found += client.ask_all([row])
                assert said.wait(30)
                said.clear()
                time.sleep(0.05)  # until what was sent has arrived
    assert [outcome.text for _, outcome in found] == ["1", "2", "3", "4"]


def test_large_requests_and_replies_go_through(tmp_path):
    """More than any buffer on the way holds."""

    class Large(ChatServer):
        async def act(self, act, body, headers, writer):
            whole = completion({"messages": []}, str(len(body["messages"][0]["content"])))
            return await super().act(whole | {"padding": "x" * 900_000}, body, headers, writer)

    text = "图" * 3_000_000
    with running(Large()) as server:
        rows = [(name, type(r)([{"role": "user", "content": text + name}], r.parameters))
                for name, r in requests(2)]  # fmt: skip
        found = ask(server, tmp_path, rows)
    assert [outcome.text for _, outcome in found] == ["3000001", "3000001"]


@contextlib.contextmanager
def listening(connection):
    """A server that treats each connection so."""
    made = ChatServer()
    made._connection = connection
    with running(made) as server:
        assert urllib.parse.urlsplit(server.url).port == server.port
        yield server
