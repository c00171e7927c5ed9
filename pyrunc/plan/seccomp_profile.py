"""What ``linux.seccomp`` says, in libseccomp's terms: numbers for names, one flat rule for each system call and alternative.

Source: runtime-spec, config-linux.md, "Seccomp"; seccomp(2); seccomp_rule_add(3).
"""

from __future__ import annotations

from errno import EPERM

from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")
    Argument = tuple[int, int, int, int]

# linux/seccomp.h. The codes of actions are libseccomp's too; the low 16 bits of ERRNO and TRACE carry a number.
ERRNO = 0x00050000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
NOTIFY = 0x7FC00000
ALLOW = 0x7FFF0000
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_NOTIFY": NOTIFY,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_ALLOW": ALLOW,
}
CARRIED_MAX = {ERRNO: 4094, TRACE: 0xFFFF}
"""The actions that carry a number, and the greatest one: an errno is below MAX_ERRNO, or libseccomp refuses it."""

OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
ARCHITECTURES = {
    f"SCMP_ARCH_{name}": name.lower()
    for name in (
        *("X86", "X86_64", "X32", "ARM", "AARCH64", "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64"),
        *("MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390", "S390X", "SH", "SHEB", "PARISC", "PARISC64", "RISCV64"),
    )
}
"""As libseccomp names them, seccomp_arch_add(3)."""

FLAG_TSYNC, FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV = 1, 2, 4, 8, 32
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}
ROOT = "linux.seccomp"


class Rule:
    """One call of seccomp_rule_add: all `arguments` must match. `position` is that of the entry in ``syscalls``."""

    __slots__ = ("action", "arguments", "name", "position")

    def __init__(self, name: str, action: int, arguments: list[Argument], position: int) -> None:
        self.name = name
        self.action = action
        self.arguments = arguments
        self.position = position


class Profile:
    """The profile in libseccomp's terms. Raises ConfigError with every fault. What must be right on every start of a container,
    listenerPath and the actions that need it, is for config/rules to say.

    Architectures and flags stand with their config paths; ``flags`` is None where the config leaves the choice to us.
    ``unknown`` are names that libseccomp did not know when it compiled the profile, and left out.
    """

    __slots__ = ("architectures", "default_action", "faults", "flags", "rules", "unknown")

    def __init__(self, profile: dict[str, Any]) -> None:
        self.faults: list[tuple[str, str]] = []
        self.default_action = self._action(profile, "defaultAction", "defaultErrnoRet", ROOT)
        self.architectures = [
            (self._choice(name, ARCHITECTURES, "", path), path) for name, path in self._items(profile, "architectures", ROOT)
        ]
        self.flags: list[tuple[int, str]] | None = None
        if profile.get("flags") is not None:
            self.flags = [(self._choice(name, FLAGS, 0, path), path) for name, path in self._items(profile, "flags", ROOT)]
        self.rules: list[Rule] = []
        self.unknown: list[str] = []
        for position, (entry, path) in enumerate(self._items(profile, "syscalls", ROOT)):
            if isinstance(entry, dict):
                self._entry(entry, path, position)
            else:
                self.faults.append((path, "must be an object"))
        if self.faults:
            raise ConfigError(self.faults)

    def _entry(self, entry: dict[str, Any], path: str, position: int) -> None:
        action = self._action(entry, "action", "errnoRet", path)
        arguments = [self._argument(argument, at) for argument, at in self._items(entry, "args", path)]
        # Comparisons of different arguments must all hold; a second one of the same argument makes them alternatives.
        alternatives = [arguments]
        if len({index for index, *_ in arguments}) < len(arguments):
            alternatives = [[argument] for argument in arguments]
        names = self._items(entry, "names", path)
        if not names:
            self.faults.append((f"{path}.names", "must name at least one system call"))
        for name, at in names:
            if not isinstance(name, str):
                self.faults.append((at, "must be a string"))
            elif name.isascii() and "\0" not in name:  # libseccomp knows no other, and what it does not know is skipped
                self.rules += [Rule(name, action, alternative, position) for alternative in alternatives]

    def _argument(self, argument: Any, path: str) -> Argument:
        if not isinstance(argument, dict):
            self.faults.append((path, "must be an object"))
            return (0, 0, 0, 0)
        second = argument.get("valueTwo")
        return (
            self._number(argument.get("index"), 5, f"{path}.index"),
            self._choice(argument.get("op"), OPERATORS, 0, f"{path}.op"),
            self._number(argument.get("value"), 2**64 - 1, f"{path}.value"),
            self._number(0 if second is None else second, 2**64 - 1, f"{path}.valueTwo"),
        )

    def _action(self, node: dict[str, Any], key: str, carried_key: str, path: str) -> int:
        name, carried = node.get(key), node.get(carried_key)
        action = self._choice(name, ACTIONS, -1, f"{path}.{key}")
        if action in CARRIED_MAX:
            return action | (EPERM if carried is None else self._number(carried, CARRIED_MAX[action], f"{path}.{carried_key}"))
        if carried is not None and action >= 0:
            self.faults.append((f"{path}.{carried_key}", f"{name} cannot carry an errno"))
        return action

    def _items(self, node: dict[str, Any], key: str, path: str) -> list[tuple[Any, str]]:
        value = node.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.faults.append((f"{path}.{key}", "must be an array"))
            return []
        return [(item, f"{path}.{key}[{index}]") for index, item in enumerate(value)]

    def _choice(self, name: Any, table: dict[str, T], fallback: T, path: str) -> T:
        if isinstance(name, str) and name in table:
            return table[name]
        self.faults.append((path, "is missing" if name is None else f"unknown value {ascii(name)}"))
        return fallback

    def _number(self, value: Any, limit: int, path: str) -> int:
        if type(value) is int and 0 <= value <= limit:
            return value
        self.faults.append((path, "is missing" if value is None else f"{ascii(value)} is not a whole number from 0 to {limit}"))
        return 0
