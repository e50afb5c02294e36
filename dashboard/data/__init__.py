"""What the pages show and do, from the store, the live state and the archive; nothing here draws.

Every public function names the right that it needs (`dashboard.access.needs`), and a test looks that none is forgotten. Answers
that every open browser shares are kept for a moment, behind that check, and every cache has a bound.
"""
