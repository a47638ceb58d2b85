"""Study of reading logs: speed and memory."""
