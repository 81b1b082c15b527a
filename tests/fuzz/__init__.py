"""Cases by the million: what the HTTP client makes of any bytes that a server may send."""
