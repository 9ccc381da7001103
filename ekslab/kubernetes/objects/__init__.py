"""What the API server stores: kinds of objects, and what happens to one between a request and the store."""
