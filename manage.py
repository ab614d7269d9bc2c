#!/usr/bin/env python
"""Django's command line for jobu."""

import sys

from jobu_project.__main__ import main

if __name__ == "__main__":
    main(sys.argv[0])
