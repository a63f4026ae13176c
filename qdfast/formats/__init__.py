"""Other forms of the same drawings: Arrow and Parquet, TFRecord."""
