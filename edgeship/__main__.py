"""`python -m edgeship` is the `edgeship` command."""

from edgeship.cli import main

if __name__ == "__main__":
    main()
