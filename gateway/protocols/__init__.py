"""Routes for the clients of other model servers; imported only if `GATEWAY_COMPATIBLE_APIS` is on."""
