"""What every package uses: checks of plain arguments, messages, files, addresses and the version."""
