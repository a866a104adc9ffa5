"""The subcommands of `everyframe`, one file each. Heavy imports stay inside the functions: --help must be quick."""
