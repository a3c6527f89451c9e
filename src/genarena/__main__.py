"""``python -m genarena``."""

from .cli import main

main()
