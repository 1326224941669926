"""HTML pages with tables, charts and images, each page one file that loads nothing."""
