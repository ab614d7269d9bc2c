#!/usr/bin/env python
"""Django's command line for jobu."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobu_project.settings")
    from django.core.management import execute_from_command_line

    from jobu_project.config import ConfigError

    try:
        execute_from_command_line(sys.argv)
    except ConfigError as error:
        # For the person who edited the file: the list of mistakes, not a traceback.
        sys.exit(str(error))


if __name__ == "__main__":
    main()
