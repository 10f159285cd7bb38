"""The environment service: MiniWoB++ web tasks behind OpenEnv's protocol, one Chromium for many sessions.

`python -m browser_control.environment --help`; what it promises is in docs/environment.md.
"""
