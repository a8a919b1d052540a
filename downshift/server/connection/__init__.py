"""Between the socket and the endpoints: limits, keys, bodies, when a request arrives and its client goes."""
