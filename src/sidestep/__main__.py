"""The command line as `python -m sidestep`, for where no script is on the path."""

from sidestep.cli.entry import main

if __name__ == "__main__":
    main()
