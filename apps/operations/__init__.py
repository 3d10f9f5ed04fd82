"""Owns what a host needs: signs of life, the processes, the doctor, backups, what production refuses."""
