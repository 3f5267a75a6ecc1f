"""The service: studies in over HTTP, jobs that are never lost, drafts out, guarded.

The process of :mod:`hilum.service.serve` answers HTTP and never decodes a film or runs a model:
films are parsed in the children of :mod:`hilum.imaging.children`, and read by worker processes
(:mod:`hilum.service.worker`) that take jobs from the database.
"""
