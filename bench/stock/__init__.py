"""A stock django-oauth-toolkit project: what one gets by following its tutorial. The benchmark's other side."""
