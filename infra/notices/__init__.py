"""Alerts go to people: by mail, chat or SMS, through Apprise."""
