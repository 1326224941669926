"""The page, its tables and its charts."""
