"""Owns what a running process tells about itself: request ids, log lines, metrics, traces."""
