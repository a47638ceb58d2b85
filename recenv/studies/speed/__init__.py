"""Speed: how fast is a step, beside other simulators and the machine's own bound?"""
