"""What we do with FCOS: one file per job, each one settings class and one ``run()``."""

# It stands in every run. An editable install would still tell the version of the day it was made.
__version__ = "0.2.0"
