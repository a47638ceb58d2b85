"""Reading: how fast, and in how much memory, are logs read?"""
