"""Completions for bash, zsh and fish.

What follows an option is told by its row: its choices, or by the metavar a directory or a file. What follows a command is, for
those that take a container, one of the IDs that ``pyrunc list`` knows under the ``--root`` that was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pyrunc.cli.globals import OPTIONS
from pyrunc.cli.help import HELP
from pyrunc.cli.main import COMMANDS, command_module
from pyrunc.cli.options import FLAG, MANY, Command, Option

NEW = ("create", "run", "restore")
"""Commands whose container does not exist yet."""

DIRECTORIES = ("DIR",)
FILES = ("FILE", "SOCKET", "PATH")

SIGNALS = "HUP INT QUIT ABRT KILL USR1 USR2 TERM CONT STOP TSTP WINCH".split()


def commands() -> list[Command]:
    return [command_module(name).COMMAND for name in COMMANDS]


def tables() -> Iterator[tuple[str, tuple[Option, ...]]]:
    """(command, its options), the global ones first, with no command."""
    yield "", (*OPTIONS, HELP)
    for command in commands():
        yield command.name, (*command.options, HELP)


def spellings(option: Option) -> list[str]:
    return [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]


def takes_id(command: Command) -> bool:
    return command.arguments.startswith("<container-id>") and command.name not in NEW


def _kind(option: Option) -> str:
    """Of the value: ``directory``, ``file``, ``text``, or its choices."""
    if option.choices:
        return " ".join(option.choices)
    return "directory" if option.metavar in DIRECTORIES else "file" if option.metavar in FILES else "text"


BASH = r"""# bash completion for pyrunc, generated from its option tables

# What the option $2 of the command $1 takes, in $kind: nothing, directory, file, text, or words.
_pyrunc_kind() {
    local name=${2#-}
    kind=
    case "$1 ${name#-}" in
@KINDS@
    esac
}

_pyrunc() {
    local words=() word command= position=0 pending= kind= root=() replies= at
    # bash takes an option apart at its "="
    for ((at = 1; at <= COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        if ((${#words[@]})) && [[ $word == "=" || ${words[-1]} == *= ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    local cur=${words[-1]}
    unset 'words[-1]'
    for word in "${words[@]}"; do
        if [[ $pending ]]; then
            [[ $pending == -root || $pending == --root ]] && root=(--root "$word")
            pending=
        elif [[ $word == -*=* ]]; then
            [[ $word == -root=* || $word == --root=* ]] && root=("$word")
        elif [[ $word == -?* && ! ($position -gt 0 && " @STOPPED@ " == *" $command "*) ]]; then
            _pyrunc_kind "$command" "$word"
            [[ $kind ]] && pending=$word
        elif [[ ! $command ]]; then
            command=$word
        else
            ((position++))
        fi
    done
    if [[ ! $pending && $cur == -*=* ]]; then
        pending=${cur%%=*}
        cur=${cur#*=}
    fi
    if [[ $pending ]]; then
        _pyrunc_kind "$command" "$pending"
    elif [[ $position -gt 0 && " @STOPPED@ " == *" $command "* ]]; then
        kind=file
        [[ $command == kill ]] && kind="@SIGNALS@"
    elif [[ $cur == -* ]]; then
        case "$command" in
@OPTIONS@
        esac
    elif [[ ! $command ]]; then
        kind="@COMMANDS@"
    elif [[ $position == 0 && $command == help ]]; then
        kind="@COMMANDS@"
    elif [[ $position == 0 && " @WITH_ID@ " == *" $command "* ]]; then
        kind=$(pyrunc "${root[@]}" list --quiet 2>/dev/null)
    fi
    case $kind in
        "" | text) return ;;
        directory) replies=$(compgen -d -- "$cur") ;;
        file) replies=$(compgen -f -- "$cur") ;;
        *) replies=$(compgen -W "$kind" -- "$cur") ;;
    esac
    [[ $kind == directory || $kind == file ]] && compopt -o filenames 2>/dev/null
    [[ $replies ]] && mapfile -t COMPREPLY <<<"$replies"
}

complete -F _pyrunc pyrunc
"""


def bash() -> str:
    """For bash 4.3 and later; it needs nothing of the package bash-completion but that loads it by its name."""
    kinds: dict[str, list[str]] = {}
    for command, options in tables():
        for option in options:
            if option.kind != FLAG:
                for name in spellings(option):
                    kinds.setdefault(_kind(option), []).append(f'"{command} {name.lstrip("-")}"')
    cases = [f"        {' | '.join(patterns)}) kind=\"{kind}\" ;;" for kind, patterns in kinds.items()]
    options_of = [
        f'            "{command}") kind="{" ".join(name for option in options for name in spellings(option))}" ;;'
        for command, options in tables()
    ]
    parts = {
        "KINDS": "\n".join(cases),
        "OPTIONS": "\n".join(options_of),
        "COMMANDS": " ".join(COMMANDS),
        "STOPPED": " ".join(command.name for command in commands() if not command.interspersed),
        "WITH_ID": " ".join(command.name for command in commands() if takes_id(command)),
        "SIGNALS": " ".join(SIGNALS),
    }
    return re.sub("@([A-Z_]+)@", lambda found: parts[found[1]], BASH)


ZSH = r"""#compdef pyrunc
# zsh completion for pyrunc, generated from its option tables

_pyrunc_ids() {
    local -a root ids
    (( $+opt_args[--root] )) && root=(--root ${(Q)opt_args[--root]})
    (( $+pyrunc_root )) && root=($pyrunc_root)
    ids=(${(f)"$(_call_program ids pyrunc $root list --quiet 2>/dev/null)"})
    compadd -a ids
}

_pyrunc_commands() {
    local -a commands=(
@COMMANDS@
    )
    _describe command commands
}

_pyrunc() {
    local context state state_descr line
    local -a pyrunc_root
    typeset -A opt_args
    _arguments -C -S \
@GLOBALS@
        '1: :_pyrunc_commands' \
        '*:: :->command' && return
    [[ $state == command ]] || return 1
    (( $+opt_args[--root] )) && pyrunc_root=(--root ${(Q)opt_args[--root]})
    case $words[1] in
@CASES@
    esac
}

_pyrunc "$@"
"""


def zsh() -> str:
    cases = []
    for command in commands():
        rows = [_zsh_option(option) for option in (*command.options, HELP)] + _zsh_arguments(command)
        stops = "" if command.interspersed else "-A '-*' "
        body = " \\\n".join(f"                {row}" for row in rows)
        cases.append(f"        {command.name})\n            _arguments -S {stops}\\\n{body} ;;")
    parts = {
        "COMMANDS": "\n".join(f"        {_quoted(f'{command.name}:{command.summary}')}" for command in commands()),
        "GLOBALS": "\n".join(f"        {_zsh_option(option)} \\" for option in (*OPTIONS, HELP)),
        "CASES": "\n".join(cases),
    }
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], ZSH)


def _zsh_option(option: Option) -> str:
    names = spellings(option)
    text = re.sub(r"([\[\]\\:])", r"\\\1", option.help)
    value = ""
    if option.kind != FLAG:
        known = {"directory": "_directories", "file": "_files", "text": " "}
        action = known.get(_kind(option)) or f"({_kind(option)})"
        value = f":{option.metavar.translate(dict.fromkeys(map(ord, ':[]'), ' '))}:{action}"
    head = "*" if option.kind == MANY else f"({' '.join(names)})" if len(names) > 1 else ""
    # A long option takes its value after "=" or as the next word, a short one as the next.
    rows = [f"{head}{name}{('=' if name.startswith('--') else '') if value else ''}[{text}]{value}" for name in names]
    return " ".join(map(_quoted, rows))


def _zsh_arguments(command: Command) -> list[str]:
    if not command.arguments:
        return []
    if command.name == "help":
        return ["'1: :_pyrunc_commands'"]
    first = "_pyrunc_ids" if takes_id(command) else " "
    rows = [f"'1:container:{first}'"]
    if command.name == "kill":
        rows.append(f"'2:signal:({' '.join(SIGNALS)})'")
    elif command.most is None:
        rows.append("'*:: :_normal'" if command.name == "exec" else "'*: : '")
    return rows


def fish() -> str:
    lines = [
        "# fish completion for pyrunc, generated from its option tables",
        "",
        "function __pyrunc_ids",
        "    set -l words (commandline -opc)",
        "    set -l root",
        "    for at in (seq (count $words))",
        "        switch $words[$at]",
        "            case --root -root",
        "                set -l next (math $at + 1)",
        "                set root --root $words[$next]",
        "            case '--root=*' '-root=*'",
        "                set root $words[$at]",
        "        end",
        "    end",
        "    pyrunc $root list --quiet 2>/dev/null",
        "end",
        "",
        "complete -c pyrunc -f",
    ]
    for command in commands():
        lines.append(f"complete -c pyrunc -n __fish_use_subcommand -a {command.name} -d {_quoted(command.summary)}")
    for name, options in tables():
        where = f"-n '__fish_seen_subcommand_from {name}'" if name else "-n __fish_use_subcommand"
        lines += [f"complete -c pyrunc {where} {_fish_option(option)}" for option in options]
    for command in commands():
        where = f"-n '__fish_seen_subcommand_from {command.name}'"
        if takes_id(command):
            lines.append(f"complete -c pyrunc {where} -a '(__pyrunc_ids)'")
        if command.name == "kill":
            lines.append(f"complete -c pyrunc {where} -a {_quoted(' '.join(SIGNALS))}")
    lines.append(f"complete -c pyrunc -n '__fish_seen_subcommand_from help' -a {_quoted(' '.join(COMMANDS))}")
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    words: Iterable[str] = [f"-l {option.name}", *([f"-s {option.short}"] if option.short else [])]
    if option.kind != FLAG:
        kind = _kind(option)
        values = {"directory": " -a '(__fish_complete_directories)'", "file": "F", "text": ""}.get(kind, f" -a '{kind}'")
        words = [*words, "-r" if values == "F" else f"-x{values}", *(["-F"] if values == "F" else [])]
    return " ".join([*words, f"-d {_quoted(option.help)}"])


def _quoted(text: str) -> str:
    """In single quotes, which zsh and fish read alike."""
    return "'" + text.replace("'", "'\\''") + "'"
