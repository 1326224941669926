"""What we do with FCOS: one file per job, each one settings class and one ``run()``."""
