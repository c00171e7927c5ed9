"""The device rules: the config's own, then the runtime's defaults, and what they mean for a request.

The meaning is the specification's "in listed order": every access bit of a request is decided by the last rule that
matches the device and names the bit, and what no rule names is denied, also where the config has no rules at all.
bpf.py enforces exactly that; v1's lists of exceptions are coarser, see `v1_lines`.
"""

from __future__ import annotations

from .. import errors
from .settings import RESOURCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*
ALL = MKNOD | READ | WRITE
_BITS = {"m": MKNOD, "r": READ, "w": WRITE}
_LETTERS = ("", "m", "r", "rm", "w", "wm", "rw", "rwm")
"""By mask, in the order in which devices.list has them."""
_MAX_NUMBER = (1 << 31) - 1
_EVERYTHING = "a *:* rwm"  # how devices.list reads where all devices are allowed, whatever the exceptions


class Rule:
    """``types`` is "c", "b" or "cb", ``major`` and ``minor`` None for any, ``access`` a mask of MKNOD, READ and WRITE."""

    __slots__ = ("allow", "types", "major", "minor", "access")

    def __init__(self, allow: bool, types: str, major: int | None, minor: int | None, access: int) -> None:
        self.allow = allow
        self.types = types
        self.major = major
        self.minor = minor
        self.access = access

    @property
    def everything(self) -> bool:
        """Whether it decides every request, so that nothing before it matters."""
        return self.types == "cb" and self.major is None and self.minor is None and self.access == ALL


DEFAULTS = (
    Rule(True, "cb", None, None, MKNOD),
    Rule(True, "c", 1, 3, ALL),  # null
    Rule(True, "c", 1, 5, ALL),  # zero
    Rule(True, "c", 1, 7, ALL),  # full
    Rule(True, "c", 1, 8, ALL),  # random
    Rule(True, "c", 1, 9, ALL),  # urandom
    Rule(True, "c", 5, 0, ALL),  # tty
    Rule(True, "c", 5, 2, ALL),  # ptmx
    Rule(True, "c", 136, None, ALL),  # pts
    Rule(True, "c", 10, 200, ALL),  # net/tun, which users of runc missed when it was taken away
)
"""What every container may use, whatever its config says. mknod is harmless: a node can be made, not opened."""


class Inexpressible(Exception):
    """The rules mean something that v1's allow and deny lists cannot say; args[0] tells which rule."""


def rules_of(resources: dict[str, Any] | None) -> list[Rule]:
    """The rules in force for ``linux.resources``. Raises ConfigError for a type, number or access that is none."""
    own = (resources or {}).get("devices") or []
    return [*(_rule(entry, f"{RESOURCES}devices[{index}]") for index, entry in enumerate(own)), *DEFAULTS]


def _rule(entry: dict[str, Any], where: str) -> Rule:
    kind = entry.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise errors.ConfigError([(where + ".type", f"{kind!r} is none of a, b and c")])
    access = 0
    for letter in entry.get("access") or "":
        if letter not in _BITS:
            raise errors.ConfigError([(where + ".access", f"{entry['access']!r} holds more than r, w and m")])
        access |= _BITS[letter]
    if not access:
        raise errors.ConfigError([(where + ".access", "is empty")])
    numbers = []
    for name in ("major", "minor"):
        number = entry.get(name, -1)
        if number is not None and not -1 <= number <= _MAX_NUMBER:
            raise errors.ConfigError([(f"{where}.{name}", f"{number} is no device number")])
        numbers.append(None if number == -1 else number)
    return Rule(bool(entry["allow"]), "cb" if kind == "a" else kind, numbers[0], numbers[1], access)


def v1_lines(rules: list[Rule]) -> tuple[bool, list[str]]:
    """What to write for v1: whether all devices are allowed at first, and the exceptions to that, line by line.

    v1 keeps a default and a set of exceptions, and takes a rule against the default's direction only as a removal of the
    very same exception; it ignores "deny c 10:229" after "allow c *:*" without a word. Here removals are worked out
    on the set beforehand, and what still cannot be said raises Inexpressible instead of granting more than asked.
    """
    allowed, exceptions = False, dict[tuple[str, int | None, int | None], int]()
    for rule in rules:
        if rule.everything:
            allowed = rule.allow
            exceptions.clear()
            continue
        for kind in rule.types:
            key = (kind, rule.major, rule.minor)
            if rule.allow != allowed:
                exceptions[key] = exceptions.get(key, 0) | rule.access
                continue
            for other in list(exceptions):
                if not exceptions[other] & rule.access or not _overlap(key, other):
                    continue
                if not _contains(key, other):
                    verb = "allow" if rule.allow else "deny"
                    raise Inexpressible(f"{verb} {_line(key, rule.access)} within {_line(other, exceptions[other])}")
                exceptions[other] &= ~rule.access
    if not allowed:
        # The kernel wants one exception that covers a whole request, "rw" for instance, so the narrow ones
        # take over what wider ones grant; mknod is always asked for alone.
        wide = [key for key, access in exceptions.items() if None in key and access & ~MKNOD]
        for key in exceptions:
            for other in wide:
                if exceptions[key] and _contains(other, key):
                    exceptions[key] |= exceptions[other] & ~MKNOD
    return allowed, [_line(key, access) for key, access in exceptions.items() if access]


def expressible(resources: dict[str, Any] | None) -> bool:
    """Whether v1's lists can say what the rules mean. Raises ConfigError."""
    try:
        v1_lines(rules_of(resources))
    except Inexpressible:
        return False
    return True


def v1_steps(current: list[str], allowed: bool, exceptions: list[str]) -> list[tuple[str, list[str]]]:
    """The writes, as ("allow" or "deny", lines), that lead from devices.list as it reads, `current`, to `v1_lines`' result.

    Where nothing but exceptions is allowed before and after, only the differences are written: not even for a moment may a
    container that runs lose what it keeps.
    """
    if allowed:
        return [("allow", ["a"]), ("deny", exceptions)]
    if not current or _EVERYTHING in current:
        return [("deny", ["a"]), ("allow", exceptions)]
    have, want = (dict(line.rsplit(" ", 1) for line in lines) for lines in (current, exceptions))
    missing = [f"{device} {access}" for device, access in want.items() if set(access) - set(have.get(device, ""))]
    lost = {device: "".join(bit for bit in access if bit not in want.get(device, "")) for device, access in have.items()}
    return [("allow", missing), ("deny", [f"{device} {access}" for device, access in lost.items() if access])]


def _contains(outer: tuple[str, int | None, int | None], inner: tuple[str, int | None, int | None]) -> bool:
    return outer[0] == inner[0] and outer[1] in (None, inner[1]) and outer[2] in (None, inner[2])


def _overlap(one: tuple[str, int | None, int | None], two: tuple[str, int | None, int | None]) -> bool:
    return (
        one[0] == two[0]
        and (one[1] == two[1] or one[1] is None or two[1] is None)
        and (one[2] == two[2] or one[2] is None or two[2] is None)
    )


def _line(key: tuple[str, int | None, int | None], access: int) -> str:
    kind, major, minor = key
    return f"{kind} {'*' if major is None else major}:{'*' if minor is None else minor} {_LETTERS[access]}"
