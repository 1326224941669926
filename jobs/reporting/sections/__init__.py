"""The sections of the page, one file each or a few that belong together."""
