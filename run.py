#!/usr/bin/env python3
"""Serve jPulse from a checkout: `python run.py --port 8080`; `--help` lists the settings."""

import sys

from handlers.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
