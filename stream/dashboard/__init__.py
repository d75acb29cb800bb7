"""The dashboard: what the topics say, on a page that a ward can read.

`feed` reads the topics into `state` and tells `events` what changed; `app` serves both behind `access`.
"""
