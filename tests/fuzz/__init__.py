"""Cases by the million: what the HTTP client and the reader of listings make of any bytes that a server may send."""
