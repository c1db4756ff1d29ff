"""The commands: each file reads the arguments of a command, calls the library and prints."""
