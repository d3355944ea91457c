"""Small applications on jPulse, one pattern each: `python run.py --app examples.presence.app`."""
