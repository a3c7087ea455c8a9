"""The command line itself: arguments (those that several verbs have), completion (of a shell)."""
