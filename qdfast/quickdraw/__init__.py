"""Google's files, and procedural drawings in their stead."""
