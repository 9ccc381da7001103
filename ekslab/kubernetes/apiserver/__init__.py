"""The API server: authenticates, authorizes and answers requests over HTTPS."""
