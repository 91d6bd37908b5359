"""Arrays of numbers: intensity maps, statistics, masks, nodata."""
