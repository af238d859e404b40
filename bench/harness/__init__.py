"""The parts of run.py. Each part has one subject."""
