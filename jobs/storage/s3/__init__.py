"""S3 by boto3."""
