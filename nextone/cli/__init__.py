"""The command line: `main` is the app, `common` what commands share, every other file a group of commands."""
