"""A language model as Tandem needs it, and the providers and wrappers that are one."""
