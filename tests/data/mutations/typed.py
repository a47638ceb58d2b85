FORMATS = {}
def mutations(f): return ()
def made(*a): raise NotImplementedError
