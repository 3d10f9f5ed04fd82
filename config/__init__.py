"""How the project is wired: settings, OAuth settings, the URL map."""
