"""`python -m hfhooks` is the `hfhooks` command."""

from hfhooks.cli import main

if __name__ == "__main__":
    main()
