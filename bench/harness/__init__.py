"""The parts of run.py, one subject each."""
