"""Images at addresses that clients name: a server must not become their way into its network.

A name is resolved once, every address that it has must be public, and the connection goes to the
address that was checked. A redirect is followed a few times, each target checked in the same way.
Size and time are bounded, proxies of the environment are not used, and no cookies are kept.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from zv_jax.errors import DataError

if TYPE_CHECKING:
    import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

_LARGEST = 20 << 20  # bytes of an image
_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
# Ways to write an IPv4 address as one of IPv6, beside those that `ipaddress` knows.
_TRANSLATED = tuple(ipaddress.ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))


def public(address: Address, port: int) -> bool:
    """Whether an address is one of the open internet, on the port of its protocol.

    IPv6 addresses that stand for IPv4 ones are not: who needs them knows the other.
    """
    if port not in _PORTS.values() or not address.is_global or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    hidden = address.ipv4_mapped or address.sixtofour or address.teredo
    return not hidden and not any(address in network for network in _TRANSLATED)


async def system(host: str, port: int) -> list[str]:
    """The addresses that the system gives for a name.

    Raises:
        OSError: there is none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Remote:
    """Fetches images.

    Args:
        permitted: whether a connection to an address and port is allowed.
        resolve: the addresses of a name.
        timeout: seconds for one image, redirects included.
    """

    def __init__(
        self,
        permitted: Callable[[Address, int], bool] = public,
        resolve: Resolve = system,
        timeout: float = 10.0,
    ):
        self.permitted, self.resolve, self.timeout = permitted, resolve, timeout

    async def fetch(self, url: str, where: str) -> bytes:
        """The bytes at an address.

        Raises:
            DataError: naming `where`: it is not permitted, not there, too large or too slow.
        """
        try:
            async with asyncio.timeout(self.timeout):
                return await self._follow(url, where)
        except TimeoutError:
            raise _failed(f"it took more than {self.timeout:g} seconds", where) from None

    async def _follow(self, url: str, where: str) -> bytes:
        import httpx2

        transport = httpx2.AsyncHTTPTransport(trust_env=False)
        async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
            for _ in range(_REDIRECTS + 1):
                try:
                    found = await self._get(client, url, where)
                except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                    # Not its text, which may tell what is behind an address.
                    raise _failed(type(error).__name__, where) from None
                if isinstance(found, bytes):
                    return found
                try:
                    url = urljoin(url, found)
                except ValueError:
                    raise _failed("it redirects to no address", where) from None
        raise _failed(f"more than {_REDIRECTS} redirects", where)

    async def _get(self, client: httpx2.AsyncClient, url: str, where: str) -> bytes | str:
        """The bytes, or the address that a redirect names."""
        import httpx2

        asked = httpx2.URL(url)
        if asked.scheme not in _PORTS or not asked.host or asked.userinfo:
            raise _failed("it is no plain http or https address", where)
        address = await self._checked(asked.host, asked.port or _PORTS[asked.scheme], where)
        request = client.build_request(
            "GET",
            asked.copy_with(host=address, fragment=None),
            headers={"Host": asked.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": asked.raw_host.decode("ascii")},
        )
        reply = await client.send(request, stream=True, follow_redirects=False)
        try:
            if reply.is_redirect:
                return reply.headers.get("location", "")
            if reply.status_code != 200:
                raise _failed(f"status {reply.status_code}", where)
            return await _bounded(reply, where)
        finally:
            await reply.aclose()

    async def _checked(self, host: str, port: int, where: str) -> str:
        """The address to connect to."""
        try:
            found = [ipaddress.ip_address(a) for a in await self.resolve(host, port)]
        except (OSError, ValueError):  # ValueError: also of names that cannot be encoded
            raise _failed("its name has no address", where) from None
        if not found or not all(self.permitted(address, port) for address in found):
            raise _failed("its address is not a public one", where)
        return str(found[0])


async def _bounded(reply: httpx2.Response, where: str) -> bytes:
    """The body as it was sent: one that is compressed could unfold to gigabytes."""
    parts, size = [], 0
    async for part in reply.aiter_raw():
        size += len(part)
        if size > _LARGEST:
            raise _failed(f"it has more than {_LARGEST:,} bytes", where)
        parts.append(part)
    return b"".join(parts)


def _failed(why: str, where: str) -> DataError:
    return DataError(
        f"the image cannot be fetched: {why}",
        where=where,
        expected=f"a public http(s) address of an image of at most {_LARGEST:,} bytes",
        fix="send the file itself, as data:image/png;base64,...",
    )
