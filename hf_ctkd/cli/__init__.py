"""The command line: `main.py` picks the command by its first word, one file holds each command."""
