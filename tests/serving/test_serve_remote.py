"""Images at addresses: what is public, and that the connection goes where was looked."""

import asyncio
import contextlib
import ipaddress
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asked import chat
from running import serving

from zv_jax.errors import DataError
from zv_jax.serving.images import Images
from zv_jax.serving.messages import Shown
from zv_jax.serving.remote import Remote, public

PRIVATE = """
127.0.0.1 127.9.9.9 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1
255.255.255.255 192.0.2.1 198.18.0.1 240.0.0.1 :: ::1 fe80::1 fc00::1 fd00::1 ff02::1 2001:db8::1
::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::808:808 ::127.0.0.1
2002:7f00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2
""".split()


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_of_the_open_internet(address):
    assert not public(ipaddress.ip_address(address), 443)


def test_addresses_that_are():
    for address in ("8.8.8.8", "2606:4700:4700::1111"):
        assert public(ipaddress.ip_address(address), 80)
        assert not public(ipaddress.ip_address(address), 6379)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Host"]))
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            for part in body:
                self.wfile.write(part)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def elsewhere(images):
    """A server of images on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.asked = True, []
    silence = threading.Event()
    port = server.server_port
    to = lambda place: (302, {"Location": place}, [])
    server.answers = {
        "/a.png": (200, {"Content-Length": str(len(images[0]))}, [images[0]]),
        "/moved": to("/a.png"),
        "/round": to("/round"),
        "/inside": to(f"http://internal.example:{port}/a.png"),
        "/file": to("file:///etc/passwd"),
        "/nowhere": (302, {}, []),
        "/half": to("http://[::1"),
        "/none": (404, {}, [b"secret"]),
        "/endless": (200, {}, (b"\0" * 65536 for _ in range(100_000))),
        "/unfolds": (200, {"Content-Encoding": "gzip", "Content-Length": "3"}, [b"\x1f\x8b\x08"]),
        "/silent": (200, {}, (b"" for _ in range(1) if silence.wait())),
    }
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    silence.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(elsewhere):
    """Fetches a path of it, as host `images.example`; returns the bytes and the names resolved."""

    def run(path, host="images.example", timeout=10.0, **names):
        here = ["127.0.0.1"] * 9
        names = {"images.example": here, "internal.example": ["127.0.0.2"]} | names
        resolved = []

        async def resolve(name, port):
            resolved.append(name)
            return names[name].pop(0).split()

        allowed = lambda address, port: str(address) == "127.0.0.1"
        remote = Remote(allowed, resolve, timeout)
        url = f"http://{host}:{elsewhere.server_port}{path}"
        return asyncio.run(remote.fetch(url, "image")), resolved

    return run


def test_an_image_is_fetched_from_the_address_that_was_checked(fetch, elsewhere, images):
    # The second answer to the same question is another one; nobody asks it.
    data, resolved = fetch("/a.png", **{"images.example": ["127.0.0.1", "127.0.0.2"]})
    assert data == images[0] and resolved == ["images.example"]
    assert elsewhere.asked == [("/a.png", f"images.example:{elsewhere.server_port}")]


def test_redirects_are_followed_to_permitted_places_only(fetch, elsewhere, images):
    assert fetch("/moved")[0] == images[0]
    elsewhere.asked.clear()
    with pytest.raises(DataError, match="not a public one"):
        fetch("/inside")
    assert [path for path, _ in elsewhere.asked] == ["/inside"]
    says_of = {"/round": "3 redirects", "/file": "no plain", "/nowhere": "3 redirects"}
    for path, says in (says_of | {"/half": "redirects to no address"}).items():
        with pytest.raises(DataError, match=says):
            fetch(path)


def test_one_address_of_a_name_that_is_not_permitted_is_enough(fetch, elsewhere):
    with pytest.raises(DataError, match="not a public one"):
        fetch("/a.png", **{"images.example": ["127.0.0.1 10.0.0.1"]})
    assert elsewhere.asked == []


def test_what_is_not_there_too_large_or_too_slow(fetch):
    with pytest.raises(DataError, match="status 404") as found:
        fetch("/none")
    assert "secret" not in str(found.value)
    with pytest.raises(DataError, match="more than 20,971,520 bytes"):
        fetch("/endless")
    with pytest.raises(DataError, match="more than 0.2 seconds"):
        fetch("/silent", timeout=0.2)
    assert fetch("/unfolds")[0] == b"\x1f\x8b\x08"  # as it is; no image


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://2130706433/a.png",
        "http://0x7f.1/a.png",
        "http://localhost/a.png",
        "http://[::1]/a.png",
        "http://[::ffff:127.0.0.1]/a.png",
        "http://user:word@8.8.8.8/a.png",
        "http:///a.png",
        "http://a..b/",
        "http://" + "a" * 300,
        "http://8.8.8.8:22/",
        "https://[::1",
        "http://\x00/",
        "http://图.invalid/",
    ],
)
def test_no_spelling_of_an_address_reaches_this_machine(url):
    images = Images(28, "white", Remote())
    with pytest.raises(DataError) as found:
        asyncio.run(images.read([Shown(url, "image")]))
    assert found.value.where == "image"


def test_a_server_that_fetches_refuses_its_own_network(model, elsewhere):
    url = f"http://127.0.0.1:{elsewhere.server_port}/a.png"
    part = {"type": "image_url", "image_url": {"url": url}}
    with serving(model(), remote_images=True) as running:
        reply = chat(running.url, [{"role": "user", "content": [part]}])
    assert reply.status_code == 400 and "not a public one" in reply.json()["error"]["message"]
    assert elsewhere.asked == []
