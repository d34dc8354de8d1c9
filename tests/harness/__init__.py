"""Real servers for the tests: started from generated configurations, watched through their logs and /proc."""
