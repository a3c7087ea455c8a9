"""The command line: running (runs a verb), arguments (options that several verbs share)."""
