"""What a release is made with and judged by: ``make dist`` builds and tries it, ``make matrix`` says where it runs.

Neither is part of the package. Start reading at :mod:`release.dist` and :mod:`release.matrix`.
"""
