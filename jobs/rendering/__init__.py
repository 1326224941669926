"""What is drawn of a run or of annotations, and where each drawing goes."""
