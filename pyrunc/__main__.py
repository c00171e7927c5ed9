"""``python -m pyrunc``; the installed command starts `main` in an isolated interpreter without the way through runpy."""

from __future__ import annotations

import sys

from pyrunc.cli.main import main

sys.exit(main())
