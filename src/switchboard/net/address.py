"""What host names and addresses mean."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, brackets allowed) means this machine only."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_host(value: str) -> tuple[str, str]:
    """Name and port of a ``Host`` header or an authority, in lower case; the port is "" where there is none."""
    value = value.strip().lower()
    if value.startswith("["):
        name, _, rest = value[1:].partition("]")
        return name, rest.removeprefix(":")
    if value.count(":") > 1:
        return value, ""
    name, _, port = value.partition(":")
    return name.rstrip("."), port


def network_of(address: str) -> str:
    """What stands for whoever has `address`, where things are counted: of IPv6 the first 64 bits, for one customer has them all;
    an IPv4 client of a socket that takes both counts as itself. What is no address stands for itself."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{int(ip) >> 64:x}/64"


class Networks:
    """A list of addresses and networks ("10.0.0.0/8", "::1"). Raises `ValueError` on anything else."""

    def __init__(self, names: list[str]) -> None:
        self._networks = [ipaddress.ip_network(n, strict=False) for n in names]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped  # an IPv4 client of a socket that takes both
        return any(ip in n for n in self._networks if n.version == ip.version)
