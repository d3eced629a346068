"""Rate the pages of a running service with Lighthouse.

    make run           # in one terminal
    make lighthouse    # in another

Accessibility and best practices must reach 95 of 100. Performance is reported: it varies with the load of the machine.
"""
