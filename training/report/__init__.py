"""What a person reads of a run: the table, the pictures, the page."""
