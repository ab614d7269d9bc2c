"""`python -m jobu_project COMMAND`: the command line of the ready-made project.

The same commands as `manage.py` in a checkout, which calls this.
"""

from __future__ import annotations

import os
import sys


def main(program: str = "python -m jobu_project") -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobu_project.settings")
    from django.core.management import execute_from_command_line

    from jobu_project.config import ConfigError

    try:
        execute_from_command_line([program, *sys.argv[1:]])
    except ConfigError as error:
        # For the person who edited the file: the list of mistakes, not a traceback.
        sys.exit(str(error))


if __name__ == "__main__":
    main()
