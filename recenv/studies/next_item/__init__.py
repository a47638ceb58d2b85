"""Next item: which film is liked next, and are liking probabilities right?"""
