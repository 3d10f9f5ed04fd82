"""What the review desk shows of an application: its version, what is different from before, and where it leads."""
