"""Import networks trained elsewhere from their files, without the frameworks that wrote them."""
