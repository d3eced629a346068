"""Pictures by URL: where one may be fetched from, and how, with every limit inside."""
