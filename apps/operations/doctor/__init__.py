"""The doctor: looks at a deployment that runs and says in one line each what is well and what to do about the rest."""
