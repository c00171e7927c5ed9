"""``pyrunc plan``: what ``create`` would do, without privilege and without doing it."""

from __future__ import annotations

from pyrunc.cli.emit import STDOUT, out
from pyrunc.cli.options import TEXT, Command, Given, Option
from pyrunc.errors import UsageError
from pyrunc.kernel import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

FORMATS = ("text", "json", "binary")

COMMAND = Command(
    "plan",
    "",
    "print what create would do",
    """Compiles config.json and prints the operations in their order, each with the property that it comes from.

The format "binary" is what pyrunc-init reads, of "run" in place of "create"; it is not for terminals.""",
    (
        Option("bundle", "b", TEXT, "DIR", "the bundle, a directory with a config.json (default: the working directory)"),
        Option("config", "f", TEXT, "FILE", "read FILE in place of the bundle's config.json"),
        Option("format", "", TEXT, "FORMAT", "text, json or binary (default: text)", FORMATS),
    ),
    least=0,
    most=0,
)


def execute(ctx: Context, given: Given) -> int:
    form = given.text("format") or "text"
    if form not in FORMATS:
        raise UsageError(f"invalid format option: {form} (known: {', '.join(FORMATS)})")
    bundle, config_path = given.text("bundle") or ".", given.text("config")
    if form == "binary":
        from pyrunc.runtime.plan import encoded

        if os.isatty(STDOUT):
            raise UsageError("a binary plan is not written to a terminal")
        # Every byte comes out as it was, whether it is UTF-8 or not (PEP 383).
        out(encoded(ctx, bundle, config_path=config_path).decode("utf-8", "surrogateescape"))
        return 0
    from pyrunc.runtime.plan import plan

    shown = plan(ctx, bundle, config_path=config_path, format=form)
    out(shown if shown.endswith("\n") else shown + "\n")
    return 0
