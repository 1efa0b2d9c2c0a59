"""``python -m switchboard`` is the program ``switchboard``."""

from switchboard.cli import main

if __name__ == "__main__":
    main()
