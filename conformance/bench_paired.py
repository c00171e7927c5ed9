"""What a difference between two bundles costs a command: pairs of runs, one right after the other.

A fraction of a millisecond is lost between two medians of a machine that others use. A pair has both runs in the same second,
and what disturbs it is as likely to disturb the one as the other: the median of the differences stays.
"""

from __future__ import annotations

import os
import statistics
import time

HEAD = ("without", "with", "difference", "error", "deciles", "minima")

TYPE_CHECKING = False
if TYPE_CHECKING:
    Times = tuple[float, float]
    Pair = tuple[Times, Times]


def time_pairs(without: list[str], with_it: list[str], count: int) -> list[Pair]:
    """What `time_one` says of both commands, `count` times. Which of them is the first alternates."""
    for command in (without, with_it):
        time_one(command)  # warms up, and fills caches
    pairs = []
    for number in range(count):
        if number % 2:
            second, first = time_one(with_it), time_one(without)
        else:
            first, second = time_one(without), time_one(with_it)
        pairs.append((first, second))
    return pairs


def time_one(command: list[str]) -> Times:
    """Milliseconds of wall-clock time, and of the processors', the children's among them. RuntimeError if it fails."""
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    taken = time.perf_counter() - start
    if status:
        raise RuntimeError(f"failed: {command}")
    return taken * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def summary(pairs: list[tuple[float, float]]) -> list[float]:
    """The numbers under HEAD: medians of each, the median of the differences and its standard error, the difference of the lower
    deciles and of the minima.

    The error is that of the median of a normal distribution as wide as the quartiles are apart: outliers do not count.
    """
    without, with_it = (sorted(column) for column in zip(*pairs, strict=True))
    differences = sorted(second - first for first, second in pairs)
    lower, _, upper = statistics.quantiles(differences, n=4)
    error = 1.253 * (upper - lower) / 1.349 / len(pairs) ** 0.5
    decile = len(pairs) // 10
    return [
        *(statistics.median(column) for column in (without, with_it, differences)),
        *(error, with_it[decile] - without[decile], with_it[0] - without[0]),
    ]


def tables(title: str, rows: list[tuple[str, list[Pair]]]) -> None:
    for kind, clock in enumerate(("", ", time of the processors")):
        print(f"\n{title}{clock}\n")
        print(" | ".join([f"{'':<8}", *(f"{name:>10}" for name in HEAD)]))
        for label, pairs in rows:
            numbers = summary([(first[kind], second[kind]) for first, second in pairs])
            print(" | ".join([f"{label:<8}", *(f"{number:10.2f}" for number in numbers)]))
