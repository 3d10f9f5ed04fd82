"""Django's PostgreSQL backend that says within moments that the server is away (`ENGINE`)."""
