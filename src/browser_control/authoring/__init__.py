"""Making a web task of one's own: from nothing to one that is proved, in a few commands (docs/own-web-tasks.md)."""
