"""The command line itself: running (what every verb goes through), arguments (those that several verbs have)."""
