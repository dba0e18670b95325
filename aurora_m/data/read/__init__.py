"""Read sources of any form, here or far away, as documents."""
