"""The dashboard: shows a ward what is on the topics.

`feed` reads the topics into `state`, and tells `events` what changed. `app` serves both, and `access` guards it.
"""
