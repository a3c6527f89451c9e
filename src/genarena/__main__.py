"""``python -m genarena``."""

import sys
from pathlib import Path

# As of the installed command, the current folder holds data and no modules, unless it is a checkout's own source.
if not sys.flags.safe_path and sys.path[0] == str(Path.cwd()) != str(Path(__file__).resolve().parents[1]):
    del sys.path[0]

from .cli import main

main()
