"""An archive of ECGs into a table: shard by shard, by one or many processes, going on where the last run ended."""
