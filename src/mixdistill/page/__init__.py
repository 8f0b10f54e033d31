"""The report: evidence -> words, pictures, page, Markdown."""
