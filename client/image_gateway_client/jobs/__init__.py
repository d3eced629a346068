"""Jobs: many images that the gateway classifies in the background."""
