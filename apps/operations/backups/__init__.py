"""Owns the archive that a deployment can be made again from: `manage.py backup` writes it, `restore` reads it.

age.py encrypts, archive.py says what is where, programs.py finds PostgreSQL's own tools, database.py takes and plays
back what is in the database, making.py and restoring.py are the two commands' work. docs/decisions/0016 tells why.
"""
