"""``pyrunc plan``: what ``create`` would do, without privilege and without doing it."""

from __future__ import annotations

from pyrunc.cli.emit import out
from pyrunc.cli.options import TEXT, Command, Given, Option, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.log import Context

COMMAND = Command(
    "plan",
    "",
    "print what create would do",
    "Compiles config.json and prints the operations in their order, each with the property that it comes from.",
    (
        Option("bundle", "b", TEXT, "DIR", "the bundle, a directory with a config.json (default: the working directory)"),
        Option("config", "f", TEXT, "FILE", "read FILE in place of the bundle's config.json"),
        Option("format", "", TEXT, "FORMAT", "text or json (default: text)"),
    ),
    least=0,
    most=0,
)


def execute(ctx: Context, given: Given) -> int:
    from pyrunc.runtime.plan import plan

    form = given.text("format") or "text"
    if form not in ("text", "json"):
        raise usage_error(f"invalid format option: {form} (known: text, json)", "plan")
    shown = plan(ctx, given.text("bundle") or ".", config_path=given.text("config"), format=form)
    out(shown if shown.endswith("\n") else shown + "\n")
    return 0
