"""crun's ``--regex`` of kill and delete: one command for all containers whose ID matches."""

from __future__ import annotations

import re
from collections.abc import Callable

from pyrunc.errors import PyruncError, UsageError
from pyrunc.log import Context


def each(ctx: Context, pattern: str, act: Callable[[str], None]) -> None:
    """Call `act` for every ID under the root in which `pattern` is found; none is no error.

    A container that refuses does not spare the others: the first PyruncError is raised after all had their turn.
    UsageError if `pattern` is no regular expression.
    """
    from pyrunc.runtime.listing import containers

    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f'invalid regular expression "{pattern}": {error}') from error
    refusals: list[PyruncError] = []
    for container in containers(ctx):
        if expression.search(container["id"]):
            try:
                act(container["id"])
            except PyruncError as error:
                refusals.append(error.within(container["id"]))
    if refusals:
        raise refusals[0]
