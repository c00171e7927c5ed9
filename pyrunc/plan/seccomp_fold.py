"""A filter made short: what depends on the architecture and the number alone is looked up in a tree over ranges of numbers.

libseccomp gives each system call a place of its own, where most neighbours share one verdict: Docker's profile is 1210
instructions of it, a fifth of that here. The kernel checks, translates and tries out every instruction of a filter each time
one is loaded, so a container starts sooner; and each of its system calls is decided in fewer steps.

The filter is carried out once for each architecture that it asks for, with a range of numbers in place of a number, which a
comparison divides. That ends at a verdict, or at the first look at an argument: from there the instructions are kept as they are.
Source: classic BPF in linux/filter.h; struct seccomp_data in linux/seccomp.h.
"""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]
    Leaf = tuple[int, int]
    Ranges = list[tuple[int, Leaf]]
    Exceptions = list[tuple[int, Leaf]]
    Node = tuple[int, Leaf, Exceptions]

_INSTRUCTION = Struct("=HBBI")
LOAD, IF_EQUAL, IF_GREATER, IF_AT_LEAST, GO, RETURN = 0x20, 0x15, 0x25, 0x35, 0x05, 0x06
IF_ANY_BIT, AND = 0x45, 0x54
NUMBER, ARCH, FIRST_OF_CALL = 0, 4, 8
"""Offsets in struct seccomp_data; from the last on, the instruction pointer and the arguments."""
NUMBERS = 1 << 32
STEPS_MAX = 200_000
JUMP_MAX = 255
EXCEPTIONS_MAX = 3
"""Numbers of a range that are asked for one after the other."""
NO_ARCH = -1
"""Any architecture that the filter does not ask for."""
VERDICT, GO_ON = 0, 1


class _Beyond(Exception):
    """The filter does what is not foreseen here."""


def fold(bpf: bytes) -> bytes:
    """A filter that decides as this one does; this one itself where that would not be shorter, or it is not understood."""
    code = list(_INSTRUCTION.iter_unpack(bpf))
    try:
        folded = _Assembly(code).whole(_ranges(code))
    except _Beyond:
        return bpf
    return folded if len(folded) < len(bpf) else bpf


def _ranges(code: list[Instruction]) -> dict[int, Ranges]:
    """For each architecture the first number of each range, and where that leads."""
    found: dict[int, Ranges] = {}
    waiting = [NO_ARCH]
    steps = 0
    while waiting:
        arch = waiting.pop()
        if arch in found:
            continue
        ranges: Ranges = []
        ways = [(0, -1, 0, NUMBERS)]  # instruction, offset of what is loaded, first number, first beyond
        while ways:
            steps += 1
            if steps > STEPS_MAX:
                raise _Beyond
            at, loaded, first, end = ways.pop()
            op, yes, no, k = code[at]
            if op == RETURN:
                ranges.append((first, (VERDICT, k)))
            elif op == LOAD and k >= FIRST_OF_CALL:
                ranges.append((first, (GO_ON, at)))
            elif op == LOAD and k in (NUMBER, ARCH):
                ways.append((at + 1, k, first, end))
            elif op == GO:
                ways.append((at + 1 + k, loaded, first, end))
            elif op == IF_EQUAL and loaded == ARCH:
                waiting.append(k)
                ways.append((at + 1 + (yes if arch == k else no), loaded, first, end))
            elif op in (IF_EQUAL, IF_GREATER, IF_AT_LEAST) and loaded == NUMBER:
                low, high = (k + (op == IF_GREATER), k + 1 if op == IF_EQUAL else NUMBERS)
                for lower, upper, way in ((first, min(end, low), no), (max(first, low), min(end, high), yes),
                                          (max(first, high), end, no)):  # fmt: skip
                    if lower < upper:
                        ways.append((at + 1 + way, loaded, lower, upper))
            else:
                raise _Beyond
        found[arch] = _merged(sorted(ranges))
    return found


def _merged(ranges: Ranges) -> Ranges:
    return [entry for i, entry in enumerate(ranges) if i == 0 or entry[1] != ranges[i - 1][1]]


def _with_exceptions(ranges: Ranges) -> list[Node]:
    """Ranges in which single numbers lead elsewhere: each takes one comparison, where as a range between two it takes two."""
    nodes: list[Node] = []
    for first, leaf in ranges:
        if len(nodes) > 1 and not nodes[-1][2] and nodes[-1][0] + 1 == first and nodes[-2][1] == leaf:
            number, there, _ = nodes.pop()
            if len(nodes[-1][2]) == EXCEPTIONS_MAX:
                nodes.append((number, leaf, []))
            nodes[-1][2].append((number, there))
        else:
            nodes.append((first, leaf, []))
    return nodes


class _Assembly:
    """Instructions, the last one first: every jump of classic BPF leads forward, and so to what stands here already."""

    def __init__(self, code: list[Instruction]) -> None:
        self.code = code
        self.done: list[Instruction] = []
        self.verdicts: dict[int, int] = {}
        self.kept: dict[int, int] = {}

    def whole(self, ranges: dict[int, Ranges]) -> bytes:
        self._keep({leaf[1] for entries in ranges.values() for _, leaf in entries if leaf[0] == GO_ON})
        entry = self._tree_of(ranges.pop(NO_ARCH))
        for arch, entries in ranges.items():
            there = self._tree_of(entries)
            entry = self._branch(IF_EQUAL, arch, there, entry)
        self._put(LOAD, 0, 0, ARCH)
        return b"".join([_INSTRUCTION.pack(*instruction) for instruction in reversed(self.done)])

    def _put(self, op: int, yes: int, no: int, k: int) -> int:
        self.done.append((op, yes, no, k))
        return len(self.done) - 1

    def _keep(self, entries: set[int]) -> None:
        """Copy what can be reached from these instructions, with its jumps as long as they are now."""
        reached: set[int] = set()
        ways = list(entries)
        while ways:
            at = ways.pop()
            if at in reached:
                continue
            reached.add(at)
            op, yes, no, k = self.code[at]
            if op in (IF_EQUAL, IF_GREATER, IF_AT_LEAST, IF_ANY_BIT):
                ways += [at + 1 + yes, at + 1 + no]
            elif op == GO:
                ways.append(at + 1 + k)
            elif op in (LOAD, AND):
                ways.append(at + 1)
            elif op != RETURN:
                raise _Beyond
        for at in sorted(reached, reverse=True):
            op, yes, no, k = self.code[at]
            if op == GO:
                k = self._distance(self.kept[at + 1 + k])
            elif op not in (LOAD, AND, RETURN):
                yes, no = self._distance(self.kept[at + 1 + yes]), self._distance(self.kept[at + 1 + no])
            self.kept[at] = self._put(op, yes, no, k)

    def _distance(self, to: int) -> int:
        """What a jump that is put next has to leave out."""
        return len(self.done) - 1 - to

    def _tree_of(self, ranges: Ranges) -> int:
        entry = self._tree(_with_exceptions(ranges))
        if len(ranges) == 1:
            return entry
        self._adjacent(entry)
        return self._put(LOAD, 0, 0, NUMBER)

    def _tree(self, nodes: list[Node]) -> int:
        if len(nodes) > 1:
            middle = len(nodes) // 2
            above, below = self._tree(nodes[middle:]), self._tree(nodes[:middle])
            return self._branch(IF_AT_LEAST, nodes[middle][0], above, below)
        _, leaf, exceptions = nodes[0]
        entry = self._leaf(leaf)
        for number, there in exceptions:
            entry = self._branch(IF_EQUAL, number, self._leaf(there), entry)
        return entry

    def _leaf(self, leaf: Leaf) -> int:
        kind, value = leaf
        if kind == GO_ON:
            return self.kept[value]
        known = self.verdicts.get(value)
        if known is None or self._distance(known) > JUMP_MAX // 2:
            known = self.verdicts[value] = self._put(RETURN, 0, 0, value)
        return known

    def _branch(self, op: int, k: int, yes: int, no: int) -> int:
        """A comparison; what is too far for one is reached by a jump of its own."""
        for _ in range(2):
            if self._distance(yes) > JUMP_MAX:
                yes = self._put(GO, 0, 0, self._distance(yes))
            if self._distance(no) > JUMP_MAX:
                no = self._put(GO, 0, 0, self._distance(no))
        return self._put(op, self._distance(yes), self._distance(no), k)

    def _adjacent(self, entry: int) -> None:
        if self._distance(entry):
            self._put(GO, 0, 0, self._distance(entry))
