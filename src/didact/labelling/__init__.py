"""A page in the browser on which people label rows: what it shows, what they answer, and the server."""
