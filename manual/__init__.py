"""What a user reads and the shell completes, made at build time from the option tables that the parser and ``--help`` use.

    pages.py         man pages: pyrunc(8) and one a command
    completions.py   bash, zsh and fish

``files()`` is all of it, ready to be installed below a prefix.
"""

from __future__ import annotations


def files() -> dict[str, str]:
    """Path below the prefix -> content."""
    from manual import completions, pages

    found = {f"share/man/man8/{name}.8": text for name, text in pages.pages().items()}
    found["share/bash-completion/completions/pyrunc"] = completions.bash()
    found["share/zsh/site-functions/_pyrunc"] = completions.zsh()
    found["share/fish/vendor_completions.d/pyrunc.fish"] = completions.fish()
    return found
