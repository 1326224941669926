"""FCOS itself: tensors in, tensors out. Knows no Ray, Parquet, S3, file layout or command line."""
