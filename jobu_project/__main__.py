"""`python -m jobu_project COMMAND`: the command line of the ready-made project.

`manage.py` of a checkout calls this module, so both have the same commands.
"""

from __future__ import annotations

import os
import sys


def main(program: str = "python -m jobu_project") -> None:
    if sys.argv[1:2] == ["doctor"]:
        from jobu_project import doctor

        sys.exit(doctor.main())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobu_project.settings")
    from django.core.management import execute_from_command_line

    from jobu_project.config import ConfigError

    try:
        execute_from_command_line([program, *sys.argv[1:]])
    except ConfigError as error:
        # Print the list of mistakes without a traceback, for the person who edited the file.
        sys.exit(str(error))


if __name__ == "__main__":
    main()
