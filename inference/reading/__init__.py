"""ECG files: found in folders, recognised by their content, read, and made into the records that a device publishes."""
