"""Downloads Google's files, and makes procedural drawings as a substitute."""
