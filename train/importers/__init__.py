"""Networks that were trained elsewhere, read from their files without the programs that wrote them."""
