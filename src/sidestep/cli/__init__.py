"""The command line: the only part that reads configuration, environment and arguments."""
