"""What stands in several documents: copies, lines of a site, evaluation items."""
