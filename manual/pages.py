"""Man pages in the man(7) language, which every man(1) renders: what ``--help`` says, and in pyrunc(8) a little more."""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Iterable

import pyrunc
from pyrunc.cli import help
from pyrunc.cli.globals import OPTIONS
from pyrunc.cli.main import COMMANDS, command_module
from pyrunc.cli.options import Command, Option

ENVIRONMENT = {
    "XDG_RUNTIME_DIR": "Where the default of --root is for everybody but root of the host.",
    "NOTIFY_SOCKET": """The socket of a service manager, sd_notify(3). The container finds one of its own at /run/notify;
"start" and "run --detach" wait until it has said READY=1 there, and tell the manager so, and which process it is to watch.""",
    "LISTEN_FDS, LISTEN_PID": """Descriptors passed by a service manager, sd_listen_fds(3). If they are meant for pyrunc they
are passed on, before those of --preserve-fds, to a process that finds itself in LISTEN_PID.""",
}

FILES = {
    "/run/pyrunc": "The default of --root: a directory a container, and compiled seccomp filters in @cache.",
    "config.json": "In the bundle: the container, as the OCI runtime specification describes it.",
}

STATUS = """0 after success and 1 after an error, which is told in one line on standard error and, with --log, in the log.
The commands that wait for a program, "run" and "exec", end with its status, or 128 plus the number of the signal that ended it;
an "exec" that could not execute its program ends with 255."""

OTHERS = "runc(8), crun(1), systemd(1), namespaces(7), cgroups(7), capabilities(7)"


def pages() -> dict[str, str]:
    """Name of the page, without the section -> its source. Dated by $SOURCE_DATE_EPOCH, else today."""
    found = {"pyrunc": _global([command_module(name).COMMAND for name in COMMANDS])}
    for name in COMMANDS:
        found[f"pyrunc-{name}"] = _command(command_module(name).COMMAND)
    return found


def _command(command: Command) -> str:
    name = f"pyrunc-{command.name}"
    options = "[options] " if command.options else ""
    forms = [f"{options}{form.strip()}" for form in command.arguments.split("  |  ")]
    synopsis = "\n.br\n".join(f".B pyrunc {command.name}\n{escape(form)}".rstrip() for form in forms)
    return _page(name, command.summary, synopsis, [
        ("DESCRIPTION", paragraphs(command.about)),
        ("OPTIONS", tagged(map(_option, (*command.options, help.HELP)))),
        ("SEE ALSO", escape_links("pyrunc(8)")),
    ])  # fmt: skip


def _global(commands: list[Command]) -> str:
    synopsis = ".B pyrunc\n[global options] command [options] [arguments...]"
    return _page("pyrunc", "OCI container runtime", synopsis, [
        ("DESCRIPTION", paragraphs(help.ABOUT)),
        ("COMMANDS", tagged((escape_links(f"pyrunc-{command.name}(8)"), command.summary) for command in commands)),
        ("GLOBAL OPTIONS", tagged(map(_option, (*OPTIONS, help.HELP)))),
        ("EXIT STATUS", paragraphs(STATUS)),
        ("ENVIRONMENT", tagged((f".B {escape(name)}", text) for name, text in ENVIRONMENT.items())),
        ("FILES", tagged((f".I {escape(name)}", text) for name, text in FILES.items())),
        ("SEE ALSO", escape_links(OTHERS)),
    ])  # fmt: skip


def _page(name: str, summary: str, synopsis: str, sections: Iterable[tuple[str, str]]) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    head = f'.TH {name.upper()} 8 {day} "pyrunc {pyrunc.__version__}" "System Manager\'s Manual"'
    title = f".SH NAME\n{escape(name)} \\- {escape(summary)}\n.SH SYNOPSIS\n{synopsis}"
    return "\n".join([head, title, *(f".SH {title}\n{body}" for title, body in sections)]) + "\n"


ESCAPES = str.maketrans({"\\": "\\e", "-": "\\-", "~": "\\(ti", "^": "\\(ha", "`": "\\(ga", "'": "\\(aq"})


def escape(text: str) -> str:
    """Plain text for roff: nothing in it is a request or an escape, and a hyphen stays one that can be copied."""
    return re.sub(r"^\.", r"\\&.", text.translate(ESCAPES), flags=re.MULTILINE)


def filled(text: str) -> str:
    """The same for a paragraph, in lines that are no longer than mandoc(1) likes its sources."""
    lines = textwrap.wrap(text.translate(ESCAPES), 78, break_long_words=False, break_on_hyphens=False)
    return re.sub(r"^\.", r"\\&.", "\n".join(lines), flags=re.MULTILINE)


def escape_links(text: str) -> str:
    """``name(section)``, separated by commas, each in bold on a line of its own."""
    return "\n".join(re.sub(r"^(.+)(\(\d\),?)$", r".BR \1 \2", escape(link.strip())) for link in re.split(r"(?<=,) ", text))


def paragraphs(text: str) -> str:
    """Paragraphs of filled text; lines that are indented by four are an example, kept as they are."""
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        if all(line.startswith("    ") for line in lines):
            example = "\n".join(escape(line[4:]) for line in lines)
            blocks.append(f".PP\n.nf\n.RS 4\n{example}\n.RE\n.fi")
        else:
            blocks.append((".PP\n" if blocks else "") + filled(" ".join(line.strip() for line in lines)))
    return "\n".join(blocks)


def tagged(rows: Iterable[tuple[str, str]]) -> str:
    """A list of (a tag in roff, plain text)."""
    return "\n".join(f".TP\n{tag}\n{paragraphs(text)}" for tag, text in rows)


def _option(option: Option) -> tuple[str, str]:
    value = f" \\fI{escape(option.metavar)}\\fR" if option.metavar else ""
    names = [f"\\-\\-{escape(option.name)}"] + ([f"\\-{option.short}"] if option.short else [])
    return ", ".join(f"\\fB{name}\\fR{value}" for name in names), option.help[:1].upper() + option.help[1:] + "."
