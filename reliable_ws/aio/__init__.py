"""The asyncio driver, thin.

Three stimuli (application, network, clock), each followed by the same two steps: dispatch what
happened, send what is to be sent.
"""
