"""The command line: arguments (those that several verbs have), completion (of a shell), signals (that end a verb)."""
